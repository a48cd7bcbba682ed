"""A quality-diversity search on a trained model: what an archive of a checkpoint's latents holds, without training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.callbacks.latent_archive_run import ArchiveOptions, run_latent_archive
from lightning_gvae.callbacks.latent_archive_views import archive_metrics, archive_pictures, summary
from lightning_gvae.callbacks.latent_run import weights_digest
from lightning_gvae.callbacks.publish import save_pictures
from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import replace_file
from lightning_gvae.report import write_report

__all__ = ["LatentArchiveStudy"]


class LatentArchiveStudy:
    """Fills an archive from the latents of a trained model and writes a report.

    Each model has a folder of its own, named after its weights; a search that was broken off goes on there.

    Args:
        name: Name of the study.
        scale: ``name``, part of the study's folder.
        options: As for :class:`~lightning_gvae.callbacks.latent_archive_run.ArchiveOptions`.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, name: str = "latent_archive", scale: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.name, self.scale = name, dict(scale or {"name": "default"})
        self.options = ArchiveOptions(**options)

    def run(self, folder: Path, workers: int = 1, model: Any = None, datamodule: Any = None) -> Path:
        """Search and write figures, numbers and the report; ``workers`` is not used.

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
        place = folder / weights_digest(model)[:8]
        found = run_latent_archive(model, datamodule, self.options, place)
        pictures = archive_pictures(found)
        save_pictures(place, pictures, "latent_archive")
        metrics = archive_metrics(found.result)
        text = json.dumps(metrics, indent=2) + "\n"
        replace_file(place / "metrics.json", lambda beside: beside.write_text(text))
        kind, data = type(model).__name__, getattr(getattr(datamodule, "spec", None), "name", "its data")
        words = f"{self.options.settings.algorithm}, objective {found.objective}. {summary(found.result)}"
        shown = [(item.title, item.caption, place / "figures" / item.file) for item in pictures]
        return write_report(place / "report.html", f"Archive of {kind} on {data}", words, metrics, shown)
