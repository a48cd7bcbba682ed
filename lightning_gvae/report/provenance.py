"""Provenance of a study's tables: which code, packages, processor, seeds and command they come from.

``provenance.json`` stands beside ``results.csv`` (one row a run), ``tables.md`` and ``runs.json.gz`` (everything that
the report is made of, so that it can be made again without a run). It carries hashes of both, so that
a table that was changed by hand is found out.
"""

import datetime
import gzip
import json
import shlex
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_gvae.errors import DataError
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_bytes, write_json
from lightning_gvae.report.circumstances import circumstances

__all__ = [
    "PROVENANCE",
    "RUNS",
    "changed_files",
    "command_line",
    "of_record",
    "read_provenance",
    "read_runs",
    "write_provenance",
]

PROVENANCE = "provenance.json"
RUNS = "runs.json.gz"
KEPT = ("git_revision", "versions", "machine", "processor", "device", "wall_seconds")
UNKNOWN = "not recorded"
FOLDERS = ("paths.", "hydra.")  # overrides that say where something lies


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Circumstances that a study keeps of a run, from its ``run.json``; nothing of what that does not hold."""
    return {name: record[name] for name in KEPT if name in record}


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Command that repeats a study, without the folders of one machine.

    Args:
        arguments: File and overrides; None takes those that this process was started with.
    """
    file, *overrides = sys.argv if arguments is None else arguments
    return shlex.join(["python", Path(file).name, *(part for part in overrides if not part.startswith(FOLDERS))])


def write_provenance(
    folder: Path,
    study: str,
    scale: Mapping[str, Any] | str,
    seeds: Sequence[int],
    runs: Iterable[Mapping[str, Any]],
    reported: Any = None,
) -> Path:
    """Write ``provenance.json``, and ``runs.json.gz``, beside the tables of a study; last: it holds their hashes.

    Args:
        folder: The study's folder, with ``results.csv`` and ``tables.md``.
        study: Name of the study.
        scale: ``name`` and ``about`` of its scale, or its name.
        seeds: Seeds of the runs.
        runs: Circumstances of every run, as :func:`of_record` or
            :func:`~lightning_gvae.report.circumstances.circumstances` gives them. What runs of earlier releases lack
            is called "not recorded".
        reported: What the study's ``report`` is given, as JSON can hold it; None: ``runs``.

    Returns:
        Path of the file.
    """
    runs = [dict(run) for run in runs]
    content = json.dumps(runs if reported is None else reported, separators=(",", ":"))
    write_bytes(folder / RUNS, gzip.compress(content.encode(), mtime=0))
    named = {"name": scale} if isinstance(scale, str) else scale
    about = {key: named[key] for key in ("name", "about") if key in named}
    total = sum(run.get("wall_seconds") or 0.0 for run in runs)
    facts = {
        "study": study,
        "scale": about,
        "command": command_line(),
        "seeds": list(seeds),
        "runs": len(runs),
        "hours": round(total / 3600, 3),
        **{name: _distinct(run.get(name, UNKNOWN) for run in runs) for name in KEPT if name != "wall_seconds"},
        "tables_written_by": circumstances()["git_revision"],
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "files": {path.name: _hash(path) for path in sorted([*folder.glob("*.csv"), *folder.glob("tables.md")])},
    }
    path = folder / PROVENANCE
    write_json(path, facts, indent=1, ensure_ascii=False)
    return path


def read_provenance(folder: Path) -> dict[str, Any]:
    """Content of ``provenance.json``.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no {PROVENANCE} that can be read ({error})") from error
    return facts


def read_runs(folder: Path) -> Any:
    """Parts that a study's report is made of.

    Raises:
        DataError: ``runs.json.gz`` is missing or damaged.
    """
    try:
        return json.loads(gzip.decompress((folder / RUNS).read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{folder} holds no {RUNS} that can be read ({error})") from error


def changed_files(folder: Path) -> list[str]:
    """Names of tables that are missing or are not what the provenance was written for.

    Raises:
        DataError: There is no provenance.
    """
    stored = read_provenance(folder)["files"]
    return [name for name, value in stored.items() if not (folder / name).is_file() or _hash(folder / name) != value]


def _hash(path: Path) -> str:
    return text_hash(path.read_bytes().decode("utf-8").replace("\r\n", "\n"), 16)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Different values in the order of their appearance."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
