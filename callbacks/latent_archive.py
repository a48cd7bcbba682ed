"""Fills an archive of good and different latents of the trained decoder when a fit ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L

from lightning_gvae.callbacks.history import logger_step
from lightning_gvae.callbacks.latent_archive_run import Archived, ArchiveOptions, run_latent_archive
from lightning_gvae.callbacks.latent_archive_views import archive_metrics, archive_pictures
from lightning_gvae.callbacks.publish import save_pictures, send_pictures
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive_settings import ArchiveProblem, ArchiveSettings
from lightning_gvae.evolution.engines.qd import library_versions
from lightning_gvae.problems.archive_goal import ArchiveGoal

__all__ = ["LatentArchive"]


class LatentArchive(L.Callback):
    """Quality-diversity search in the latent space after training, with the weights that the fit ended with.

    ``latent_archive/archive.npz`` and ``latent_archive/history.csv`` in the run folder keep what was found; a heat map, a
    mosaic of the elites and the course of the search go to the report and to Weights & Biases and TensorBoard, final
    numbers to every logger. A search that is interrupted goes on when the run is resumed. See
    :func:`~lightning_gvae.callbacks.latent_archive_run.run_latent_archive`, which does the same for any trained model.

    Args:
        goal: What to vary and what to maximise, as for
            :class:`~lightning_gvae.callbacks.latent_archive_run.ArchiveOptions`, like all that follow.
        settings: Of the algorithm.
        bounds: ``"auto"`` or two numbers.
        constrained: Whether realistic candidates alone lead the search.
        space: ``"latent"`` or ``"noise"``.
        chunk_size: Latents decoded at a time.
        nan: ``"error"`` or ``"drop"``.
        save_every: Generations between two saved states.
        cache_dir: Where classifiers are kept.
        seed: Of every draw.

    Raises:
        ConfigError: An argument is out of range, or pyribs is missing; when a fit starts: the model cannot decode, or
            there is no data module and one is needed.
    """

    def __init__(
        self,
        goal: ArchiveGoal | ArchiveProblem,
        settings: ArchiveSettings | None = None,
        bounds: Literal["auto"] | Sequence[float] = "auto",
        constrained: bool = True,
        space: Literal["latent", "noise"] = "latent",
        chunk_size: int | None = None,
        nan: Literal["error", "drop"] = "drop",
        save_every: int | None = 50,
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        self.options = ArchiveOptions(
            goal,
            settings or ArchiveSettings(),
            bounds,
            constrained,
            space,
            chunk_size,
            nan,
            save_every,
            cache_dir,
            seed,
        )
        self.found: Archived | None = None
        self._folder: Path | None = None
        self._earlier: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail hours later."""
        if stage != "fit":
            return
        library_versions()
        method = "decode" if self.options.space == "latent" else "decode_noise"
        missing = [name for name in (method, "latent_dim") if not hasattr(pl_module, name)]
        if missing:
            raise ConfigError(
                f"LatentArchive needs a model with {method} and latent_dim; {type(pl_module).__name__} lacks "
                f"{', '.join(missing)}. Remove the callback (~callbacks.latent_archive) or choose another model."
            )
        needs_data = self.options.bounds == "auto" or isinstance(self.options.goal, ArchiveGoal)
        if needs_data and trainer.datamodule is None:  # type: ignore[attr-defined]
            raise ConfigError(
                "LatentArchive looks at the data for `bounds=auto` and for goals for images, and there is no data module: "
                "fit with `datamodule=`, or give bounds and a problem of your own."
            )
        self._folder = Path(trainer.default_root_dir).resolve()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, on every rank; rank 0 writes and logs."""
        folder = trainer.strategy.broadcast(Path(trainer.default_root_dir))
        self.found = run_latent_archive(
            pl_module,
            trainer.datamodule,  # type: ignore[attr-defined]
            self.options,
            folder,
            trainer.precision_plugin.forward_context,
            self._earlier,
        )
        if not trainer.is_global_zero:
            return
        pictures = archive_pictures(self.found)
        save_pictures(folder, pictures, "latent_archive")
        send_pictures(trainer, folder, pictures)
        for logger in trainer.loggers:
            logger.log_metrics(archive_metrics(self.found.result), step=logger_step(trainer))
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, so that one that goes on from it finds what was searched already."""
        return {} if self._folder is None else {"folder": str(self._folder)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._earlier = Path(state_dict["folder"])
