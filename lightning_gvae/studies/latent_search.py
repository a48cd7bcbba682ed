"""A latent search on a trained model: what is found in a checkpoint, without training."""

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.callbacks.latent_run import SearchOptions, run_latent_search
from lightning_gvae.callbacks.latent_views import search_metrics, search_pictures
from lightning_gvae.callbacks.publish import save_pictures
from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import replace_file
from lightning_gvae.report import Table, format_number, write_report

__all__ = ["LatentSearchStudy"]


class LatentSearchStudy:
    """Searches the latent space of a trained model and writes a report.

    Each model has a folder of its own, named after its weights; a search that was broken off goes on there.

    Args:
        name: Name of the study.
        scale: ``name``, part of the study's folder.
        options: As for :class:`~lightning_gvae.callbacks.latent_run.SearchOptions`.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, name: str = "latent_search", scale: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.name, self.scale = name, dict(scale or {"name": "default"})
        self.options = SearchOptions(**options)

    def run(self, folder: Path, workers: int = 1, model: Any = None, datamodule: Any = None) -> Path:
        """Search and write tables, figures and the report; ``workers`` is not used, one process does all runs.

        Args:
            folder: Where the studies' results lie.
            workers: Ignored.
            model: The trained model.
            datamodule: Its data, set up.

        Returns:
            Path of the report.

        Raises:
            ConfigError: No model was given.
        """
        if model is None:
            raise ConfigError("this study searches in a trained model: give `ckpt_path=...`, a checkpoint of train.py")
        weights = hashlib.blake2b(digest_size=4)
        for name, values in sorted(model.state_dict().items()):
            weights.update(name.encode() + values.detach().cpu().double().numpy().tobytes())
        place = folder / weights.hexdigest()
        found = run_latent_search(model, datamodule, self.options, place)
        pictures = search_pictures(found)
        save_pictures(place, pictures, "latent_search")
        rows = [
            {
                "run": run,
                "objective": float(found.result.final.objective[position]),
                "violation": float(found.result.final.violations[position].sum()),
                "valid": bool(found.result.final.valid[position]),
            }
            for position, run in enumerate(found.result.runs.tolist())
        ]
        replace_file(place / "runs.csv", lambda beside: _write_rows(beside, rows))
        metrics = search_metrics(found)
        text = json.dumps(metrics, indent=2) + "\n"
        replace_file(place / "metrics.json", lambda beside: beside.write_text(text))
        kind, data = type(model).__name__, getattr(getattr(datamodule, "spec", None), "name", "its data")
        return write_report(
            place / "report.html",
            f"Latent search in {kind} on {data}",
            self._summary(found.result.final.objective.numpy(), found.result.final.valid.numpy()),
            metrics,
            [(item.title, item.caption, place / "figures" / item.file) for item in pictures],
            tables=[_table(rows)],
        )

    def _summary(self, objective: np.ndarray, valid: np.ndarray) -> str:
        settings = self.options.settings
        text = (
            f"{len(objective)} runs of {settings.generations} generations with {settings.population} individuals "
            f"(engine {self.options.engine}, fitness {settings.fitness}). {valid.sum()} ended with a valid individual"
        )
        return text + (f"; the best has the objective {format_number(objective[valid].min())}." if valid.any() else ".")


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


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
