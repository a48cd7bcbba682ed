"""Is a folder whole after a kill, and is a run that was interrupted the run that was not?"""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from tests.cli.test_train import same


def corrupt_files(folder: Path) -> list[str]:
    """Files that carry their final name and cannot be read whole; what is still being written has a name of its own."""
    found = []
    for path in sorted(folder.rglob("*")):
        unfinished = path.name.startswith(".") or path.suffix in (".part", ".partial", ".lock", ".log")
        if not path.is_file() or unfinished or any(part.endswith(".partial") for part in path.parts):
            continue
        try:
            _read(path)
        except Exception as error:  # noqa: BLE001  (whatever it is, the file is not whole)
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return found


def _read(path: Path) -> None:
    if path.suffix in (".ckpt", ".pt"):
        torch.load(path, map_location="cpu", weights_only=True)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines(keepends=True)
        for line in lines if not lines or lines[-1].endswith("\n") else lines[:-1]:  # a torn last line is dropped
            json.loads(line)
    elif path.suffix == ".csv":
        text = path.read_text()
        if text and not text.endswith("\n"):
            raise ValueError("the last row is torn")
        rows = list(csv.reader(text.splitlines()))
        if len({len(row) for row in rows}) > 1:
            raise ValueError("rows of different lengths")
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".html" and "</html>" not in path.read_text():
        raise ValueError("the page is cut off")


def same_training(whole: Path, rest: Path) -> None:
    """The last checkpoints hold the same bits: weights, beta, optimisers, loops, population, random states, curves."""
    straight, resumed = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (whole, rest))
    assert straight.keys() == resumed.keys()
    for part in straight.keys() - {"callbacks", "gvae_config", "gvae_metrics"}:  # folders, times
        same(straight[part], resumed[part], part)
    assert straight["callbacks"].keys() == resumed["callbacks"].keys()
    for name, state in straight["callbacks"].items():
        if "Checkpoint" not in name:  # those hold folders too
            same(state, resumed["callbacks"][name], name)
    assert without_times(straight["gvae_metrics"]) == without_times(resumed["gvae_metrics"])
    records = [json.loads((run / "run.json").read_text()) for run in (whole, rest)]
    first, second = (without_times(record["metrics"]) for record in records)
    assert first == second
    assert records[1]["status"] == "finished"


def same_rows(whole: Path, attempts: list[Path], name: str, key: str, spare: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """The rows of all attempts, each up to where the next one takes over, are those of the run in one piece.

    Args:
        whole: Folder of the uninterrupted run.
        attempts: Folders, in order.
        name: Of the file.
        key: Column that counts.
        spare: Counts of which a row may be missing: a checkpoint is written just before the row of its own step.
    """
    (expected, tested), *others = (_parted(rows(run / name)) for run in (whole, *attempts) if (run / name).is_file())
    # A run with nothing left to train writes the step of its checkpoint beside the test.
    assert tested == others[-1][1], f"the tests of {name} differ"
    parts, found = [part for part, _ in others], []
    for number, part in enumerate(parts):
        later = [int(row[key]) for other in parts[number + 1 :] for row in other]
        found += [row for row in part if not later or int(row[key]) < min(later)]
    missing = [row for row in expected if row not in found]
    assert all(int(row[key]) in spare for row in missing), f"{name} lacks {missing[:2]}"
    assert [row for row in expected if row not in missing] == found


def _parted(table: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of the training, and those of a test, the latter without their place."""
    tests = [row for row in table if any(name.startswith("test/") for name in row)]
    return [row for row in table if row not in tests], [
        {name: value for name, value in row.items() if name not in ("step", "epoch")} for row in tests
    ]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if v and "wall" not in k and "per_second" not in k}
            for row in csv.DictReader(file)
        ]


def without_times(value: Any) -> Any:
    """Plain containers without what says how long something took, or where."""
    if isinstance(value, dict):
        times = ("seconds", "wall", "minutes", "folder", "journal", "git_revision", "compute_seconds")
        return {k: without_times(v) for k, v in value.items() if not any(word in k for word in times)}
    return [without_times(item) for item in value] if isinstance(value, list) else value
