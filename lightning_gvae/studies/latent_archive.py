"""A quality-diversity search on a trained model: what an archive of a checkpoint's latents holds, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.callbacks.latent_archive.figures import archive_metrics, archive_pictures, summary
from lightning_gvae.callbacks.latent_archive.run import ArchiveOptions, run_latent_archive
from lightning_gvae.interfaces import DataModule, Network
from lightning_gvae.studies.checkpoint_study import CheckpointStudy, StudyOutcome

__all__ = ["LatentArchiveStudy"]


class LatentArchiveStudy(CheckpointStudy):
    """Fills an archive from the latents of a trained model and writes a report.

    Args:
        name: Name of the study.
        scale: ``name``, part of the study's folder.
        options: As for :class:`~lightning_gvae.callbacks.latent_archive.run.ArchiveOptions`.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(self, name: str = "latent_archive", scale: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(name, scale)
        self.options = ArchiveOptions(**options)

    def look(self, model: Network, datamodule: DataModule | None, folder: Path) -> StudyOutcome:
        """Search, or go on with a search that was broken off."""
        found = run_latent_archive(model, datamodule, self.options, folder)
        words = f"{self.options.settings.algorithm}, objective {found.objective}. {summary(found.result)}"
        return StudyOutcome("Archive of", words, archive_metrics(found.result), archive_pictures(found))
