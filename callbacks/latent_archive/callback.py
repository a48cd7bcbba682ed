"""Fills an archive of good and different latents of the trained decoder when a fit ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning as L

from lightning_gvae.callbacks.latent_archive.figures import archive_metrics, archive_pictures
from lightning_gvae.callbacks.latent_archive.run import Archived, ArchiveOptions, run_latent_archive
from lightning_gvae.callbacks.latent_search.after_fit import SearchAfterFit
from lightning_gvae.evolution.archive.ribs_engine import library_versions
from lightning_gvae.evolution.archive.settings import ArchiveProblem
from lightning_gvae.interfaces import DataModule, Network
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.problems.archive_goal import ArchiveGoal

__all__ = ["LatentArchive"]


class LatentArchive(SearchAfterFit[Archived]):
    """Quality-diversity search in the latent space after training, with the weights that the fit ended with.

    ``latent_archive/archive.npz`` and ``latent_archive/history.csv`` in the run folder keep what was found; the
    pictures are a heat map, a mosaic of the elites and the course of the search. See
    :func:`~lightning_gvae.callbacks.latent_archive.run.run_latent_archive`, which does the same for any trained model.

    Args:
        goal: What to vary and what to maximise.
        options: The rest of :class:`~lightning_gvae.callbacks.latent_archive.run.ArchiveOptions`.

    Raises:
        ConfigError: An argument is out of range; when a fit starts: pyribs is missing, the model cannot decode, or
            there is no data module and one is needed.
    """

    name = "latent_archive"
    options_type = ArchiveOptions

    def __init__(self, goal: ArchiveGoal | ArchiveProblem, **options: Any) -> None:
        self.options = ArchiveOptions(goal, **options)
        super().__init__(self.options, isinstance(goal, ArchiveGoal))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail hours later."""
        if stage == "fit":
            library_versions()
        super().setup(trainer, pl_module, stage)

    def search(
        self,
        model: Network,
        datamodule: DataModule | None,
        folder: Path,
        forward_context: Callable[[], AbstractContextManager[Any]],
        earlier: Path | None,
    ) -> Archived:
        """Fill an archive, see :func:`~lightning_gvae.callbacks.latent_archive.run.run_latent_archive`."""
        options = self.options.shortened() if self.short else self.options
        return run_latent_archive(model, datamodule, options, folder, forward_context, earlier)

    def pictures(self, found: Archived) -> list[Picture]:
        """Figures, see :func:`~lightning_gvae.callbacks.latent_archive.figures.archive_pictures`."""
        return archive_pictures(found)

    def metrics(self, found: Archived) -> dict[str, float]:
        """Final numbers, see :func:`~lightning_gvae.callbacks.latent_archive.figures.archive_metrics`."""
        return archive_metrics(found.result)
