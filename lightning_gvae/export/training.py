"""Record of a model's training, for its card: facts, numbers, scores and figures of the run."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.run_status import RECORD, run_status
from lightning_gvae.loading.origin import Origin

__all__ = ["FIGURES", "copied_figures", "training_facts"]

FIGURES = "figures"
SHOWN = ("samples.png", "reconstructions.png", "traversals.png")
LARGEST = 2_000_000  # bytes of a figure
KEPT = (
    *("started", "wall_seconds", "optimizer_steps", "examples", "device", "processes", "seed"),
    *("evolution_extra_compute", "git_revision"),
)
STAGES = ("test/", "val/")


def training_facts(origin: Origin | None, run: Path | None, scores: Path | None = None) -> dict[str, Any]:
    """Facts of a training as plain containers.

    Args:
        origin: Where the model was loaded from.
        run: Folder of its run; None if there is none.
        scores: File of scores instead of that of the run.

    Raises:
        ConfigError: A file that was named cannot be read.
    """
    facts: dict[str, Any] = dict(origin.training) if origin else {}
    if run is not None:
        record = _read(run / RECORD)
        facts |= {name: record[name] for name in KEPT if record.get(name) is not None}
        facts |= {"status": run_status(record), "command": _without_folders(str(record.get("command", "")))}
        facts["versions"] = record.get("versions") or {}
        metrics = record.get("metrics") or {}
        facts["metrics"] = {name: value for name, value in sorted(metrics.items()) if name.startswith(STAGES)}
        facts["checkpoint"] = origin.path.name if origin and origin.path.is_file() else None
    if origin and origin.step is not None:
        facts["step"] = origin.step
    written = scores or (run / "scores.json" if run is not None and (run / "scores.json").is_file() else None)
    if written is not None:
        found = _read(written)
        facts["scores"] = {
            name: {"value": value, **(found.get("facts") or {}).get(name, {})}
            for name, value in (found.get("scores") or {}).items()
        }
    return facts


def copied_figures(origin: Origin | None, run: Path | None, place: Path) -> list[dict[str, str]]:
    """Copy the figures of a run that a card shows, or those of the export that a model was loaded from.

    Args:
        origin: Where the model was loaded from.
        run: Folder of its run; None if there is none.
        place: The new export.

    Returns:
        ``title``, ``caption`` and ``file`` of each.
    """
    if run is not None and (run / FIGURES / "index.json").is_file():
        index, source = _read(run / FIGURES / "index.json").get("figures") or [], run / FIGURES
        listed = [entry for name in SHOWN for entry in index if entry.get("file") == name]
    elif origin is not None and origin.path.is_dir():
        listed, source = list(origin.training.get("figures") or []), origin.path / FIGURES
    else:
        return []
    found = []
    for entry in listed:
        file = source / Path(entry["file"]).name
        if not file.is_file() or file.stat().st_size > LARGEST:
            continue
        target = place / FIGURES / file.name
        if file.resolve() != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        found.append({"title": entry.get("title", ""), "caption": entry.get("caption", ""), "file": file.name})
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); name the folder of a run of train.py, or its file."
        ) from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no JSON object; name the folder of a run of train.py, or its file.")
    return dict(content)


def _without_folders(command: str) -> str:
    """A command with the last part alone of absolute paths: folders are of one machine, and may tell whose.

    >>> _without_folders("train.py data.root=/home/me/images seed=1 ckpt_path=logs/a.ckpt")
    'train.py data.root=images seed=1 ckpt_path=logs/a.ckpt'
    """
    return re.sub(r"(?<![\w.])(/[^\s=,'\"]+)+", lambda found: found[0].rstrip("/").rpartition("/")[2], command)
