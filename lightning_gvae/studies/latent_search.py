"""A latent search on a trained model: what is found in a checkpoint, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.callbacks.latent_search.figures import search_metrics, search_pictures
from lightning_gvae.callbacks.latent_search.run import SearchOptions, run_latent_search
from lightning_gvae.interfaces import DataModule, Network
from lightning_gvae.io.files import write_csv
from lightning_gvae.report.page import Table, format_number
from lightning_gvae.studies.checkpoint_study import CheckpointStudy, StudyOutcome

__all__ = ["LatentSearchStudy"]


class LatentSearchStudy(CheckpointStudy):
    """Searches the latent space of a trained model and writes a report.

    Args:
        name: Name of the study.
        scale: ``name``, part of the study's folder.
        options: As for :class:`~lightning_gvae.callbacks.latent_search.run.SearchOptions`.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, name: str = "latent_search", scale: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(name, scale)
        self.options = SearchOptions(**options)

    def look(self, model: Network, datamodule: DataModule | None, folder: Path) -> StudyOutcome:
        """Search, or go on with a search that was broken off; ``runs.csv`` lists the best of every run."""
        found = run_latent_search(model, datamodule, self.options, folder)
        final = found.result.final
        rows = [
            {
                "run": run,
                "objective": float(final.objective[position]),
                "violation": float(final.violations[position].sum()),
                "valid": bool(final.valid[position]),
            }
            for position, run in enumerate(found.result.runs.tolist())
        ]
        write_csv(folder / "runs.csv", list(rows[0]), rows)
        words = self._summary(final.objective.numpy(), final.valid.numpy())
        return StudyOutcome("Latent search in", words, search_metrics(found), search_pictures(found), [_table(rows)])

    def _summary(self, objective: np.ndarray, valid: np.ndarray) -> str:
        settings = self.options.settings
        text = (
            f"{len(objective)} runs of {settings.generations} generations with {settings.population} individuals "
            f"(engine {self.options.engine}, fitness {settings.fitness}). {valid.sum()} ended with a valid individual"
        )
        return text + (f"; the best has the objective {format_number(objective[valid].min())}." if valid.any() else ".")


def _table(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            str(row["run"]),
            format_number(row["objective"]),
            format_number(row["violation"]),
            "yes" if row["valid"] else "no",
        ]
        for row in rows
    ]
    return Table("Runs", "The best of each run's final population.", ["run", "objective", "violation", "valid"], cells)
