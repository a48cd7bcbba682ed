"""Makes the tables and figures of stored studies again, without a run: ``make reproduce``.

python -m lightning_gvae.cli.reproduce docs/results              # tables are compared with those that are there
python -m lightning_gvae.cli.reproduce docs/results --to out     # figures and reports too, below out/
python -m lightning_gvae.cli.reproduce docs/results --scratch    # the commands that compute them, with their hours
python -m lightning_gvae.cli.reproduce logs/study/betas-small --publish docs/results/betas-small
"""

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module

from lightning_gvae.cli.build import build
from lightning_gvae.errors import DataError, GvaeError
from lightning_gvae.io.files import write_json
from lightning_gvae.report.provenance import (
    PROVENANCE,
    RUNS,
    changed_files,
    command_line,
    read_provenance,
    read_runs,
)

__all__ = ["differing_tables", "main", "publish", "rebuild", "scratch_commands", "stored_studies"]

PUBLISHED = ("tables.md", RUNS, PROVENANCE)  # and every table of numbers


def stored_studies(root: Path) -> list[Path]:
    """Folders of stored studies, ``root`` itself or those in it, by name.

    Raises:
        DataError: There is none.
    """
    found = [root] if (root / PROVENANCE).is_file() else sorted(path.parent for path in root.glob(f"*/{PROVENANCE}"))
    if not found:
        raise DataError(f"{root} holds no stored study: no {PROVENANCE} in it or in its folders")
    return found


def rebuild(folder: Path, to: Path) -> Path:
    """Make tables, figures and report of a stored study again.

    Args:
        folder: The stored study.
        to: Where to write.

    Returns:
        Path of the report.

    Raises:
        DataError: The folder does not hold what its report is made of.
        GvaeError: The study of its command does not exist any more.
    """
    runs = read_runs(folder)
    command = shlex.split(read_provenance(folder)["command"])
    overrides = [part for part in command[2:] if not part.startswith(("workers=", "executor=", "hydra.", "paths."))]
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        settings = compose("study", [*overrides, f"paths.output_dir={to}"]).study
    if "collapse" in settings:  # where a study looks for others: beside the stored one
        settings.collapse = str(folder.parent)
    study = build(settings)
    to.mkdir(parents=True, exist_ok=True)
    report: Path = study.report(runs, to)
    return report


def differing_tables(folder: Path, to: Path) -> list[str]:
    """Names of tables in ``folder`` that are not what was made again in ``to``."""
    names = sorted(path.name for path in [*folder.glob("*.csv"), *folder.glob("tables.md")])
    return [name for name in names if not (to / name).is_file() or _text(folder / name) != _text(to / name)]


def scratch_commands(root: Path) -> list[str]:
    """Command of every stored study with the hours that its runs took together."""
    lines = []
    for folder in stored_studies(root):
        facts = read_provenance(folder)
        hours = f"{facts['hours']:.1f} h" if facts["hours"] else "hours not recorded"
        lines.append(f"{facts['command']}    # {folder.name}: {facts['runs']} runs, {hours}")
    return lines


def publish(study: Path, to: Path) -> None:
    """Copy tables, what they are made of and their provenance from the folder of a study, without its machine's paths.

    Raises:
        DataError: The study is not whole, or its tables are not those of its provenance.
    """
    if changed := changed_files(study):
        raise DataError(f"{study}: {', '.join(changed)} changed since the provenance was written; run the study again")
    to.mkdir(parents=True, exist_ok=True)
    for path in [*study.glob("*.csv"), *(study / name for name in PUBLISHED)]:
        shutil.copyfile(path, to / path.name)
    facts = read_provenance(to)
    write_json(
        to / PROVENANCE,
        facts | {"command": command_line(shlex.split(facts["command"])[1:])},
        indent=1,
        ensure_ascii=False,
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")


def _check(root: Path, to: Path) -> int:
    """Make all again and say which tables differ; how many studies have one."""
    wrong = 0
    for folder in stored_studies(root):
        if not (folder / RUNS).is_file():
            print(f"{folder.name}: what its report is made of was not kept; only `--scratch` makes it again")
            continue
        rebuild(folder, to / folder.name)
        differing = [*changed_files(folder), *differing_tables(folder, to / folder.name)]
        print(f"{folder.name}: {'differs in ' + ', '.join(differing) if differing else 'as stored'}")
        wrong += bool(differing)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the status is 1 if a table differs from what is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of stored studies, or one of them")
    parser.add_argument("--to", type=Path, help="folder for tables, figures and reports; without it they are dropped")
    parser.add_argument("--scratch", action="store_true", help="print the commands that compute everything anew")
    parser.add_argument("--publish", type=Path, help="copy tables and provenance of one study there")
    given = parser.parse_args(arguments)
    try:
        if given.scratch:
            print("\n".join(scratch_commands(given.folder)))
            return 0
        if given.publish is not None:
            publish(given.folder, given.publish)
            return 0
        if given.to is not None:
            return min(_check(given.folder, given.to), 1)
        with tempfile.TemporaryDirectory() as scratch:
            return min(_check(given.folder, Path(scratch)), 1)
    except GvaeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
