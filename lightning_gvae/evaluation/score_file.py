"""``scores.json``: the scores of a run, whole at every moment of the evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.evaluation.results import ScoreSheet
from lightning_gvae.io.files import write_json

__all__ = ["write_scores"]


def write_scores(path: Path, sheet: ScoreSheet, settings: Mapping[str, Any]) -> None:
    """Writes what is known by now; the file is replaced whole, so that a kill leaves the scores that were finished.

    ``scores`` are values by name, ``facts`` what each rests on (number of images, part, draws, seed, feature space),
    ``left_out`` the reason by the name of what could not be computed, ``pending`` the names of what was not reached yet
    and ``settings`` those of the evaluation.

    Args:
        path: The file.
        sheet: What was found.
        settings: Plain containers.

    Raises:
        OSError: The file cannot be written.
    """
    content = {"scores": dict(sheet), "facts": sheet.facts, "left_out": sheet.left_out, "pending": sheet.pending}
    write_json(path, content | {"settings": dict(settings)})
