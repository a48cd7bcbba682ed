"""Evolves latent vectors of a trained decoder towards an objective when a fit ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L

from lightning_gvae.callbacks.history import logger_step
from lightning_gvae.callbacks.latent_run import Found, SearchOptions, run_latent_search
from lightning_gvae.callbacks.latent_views import search_metrics, search_pictures
from lightning_gvae.callbacks.publish import save_pictures, send_pictures
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent import Engine, GASettings, NanPolicy, Problem
from lightning_gvae.problems.images import ImageGoal

__all__ = ["LatentSearch"]


class LatentSearch(L.Callback):
    """Searches the latent space after training, with the weights that the fit ended with.

    ``latent_search/result.pt`` and ``latent_search/history.csv`` in the run folder keep what was found, figures go to
    the report and to Weights & Biases and TensorBoard, final numbers to every logger. A search that is interrupted goes
    on when the run is resumed. Runs are shared out over the ranks. See
    :func:`~lightning_gvae.callbacks.latent_run.run_latent_search`, which does the same for any trained model.

    Args:
        problem: What is searched: an :class:`~lightning_gvae.problems.images.ImageGoal`, or any object with
            ``objective`` and ``violations`` of decoded points.
        bounds: As for :class:`~lightning_gvae.callbacks.latent_run.SearchOptions`, like all that follow.
        runs: Independent runs.
        settings: Of the genetic algorithm.
        engine: ``"torch"``, ``"deap"`` or ``"pymoo"``.
        space: ``"latent"`` or ``"noise"``.
        chunk_size: Latents decoded at a time.
        nan: ``"error"`` or ``"worst"``.
        frames: Generations shown.
        save_every: Generations between two saved states.
        cache_dir: Where classifiers are kept.
        seed: Of every draw.

    Raises:
        ConfigError: An argument is out of range; when a fit starts: the model cannot decode, or there is no data module
            and one is needed.
    """

    def __init__(
        self,
        problem: Problem | ImageGoal,
        bounds: Literal["auto"] | Sequence[float] = "auto",
        runs: int = 16,
        settings: GASettings | None = None,
        engine: Engine = "torch",
        space: Literal["latent", "noise"] = "latent",
        chunk_size: int | None = None,
        nan: NanPolicy = "error",
        frames: int = 8,
        save_every: int | None = 10,
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        self.options = SearchOptions(
            problem, bounds, runs, settings or GASettings(), engine, space, chunk_size, nan, frames, save_every,
            cache_dir, seed,
        )  # fmt: skip
        self.found: Found | None = None
        self._folder: Path | None = None
        self._earlier: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail hours later."""
        if stage != "fit":
            return
        method = "decode" if self.options.space == "latent" else "decode_noise"
        missing = [name for name in (method, "latent_dim") if not hasattr(pl_module, name)]
        if missing:
            raise ConfigError(
                f"LatentSearch needs a model with {method} and latent_dim; {type(pl_module).__name__} lacks "
                f"{', '.join(missing)}. Remove the callback (~callbacks.latent_search) or choose another model."
            )
        needs_data = self.options.bounds == "auto" or isinstance(self.options.problem, ImageGoal)
        if needs_data and trainer.datamodule is None:  # type: ignore[attr-defined]
            raise ConfigError(
                "LatentSearch looks at the data for `bounds=auto` and for goals for images, and there is no data module: "
                "fit with `datamodule=`, or give bounds and a problem of your own."
            )
        self._folder = Path(trainer.default_root_dir).resolve()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, on every rank; rank 0 writes and logs."""
        folder = trainer.strategy.broadcast(Path(trainer.default_root_dir))
        self.found = run_latent_search(
            pl_module,
            trainer.datamodule,  # type: ignore[attr-defined]
            self.options,
            folder,
            trainer.precision_plugin.forward_context,
            self._earlier,
        )
        if not trainer.is_global_zero:
            return
        pictures = search_pictures(self.found)
        save_pictures(folder, pictures, "latent_search")
        send_pictures(trainer, folder, pictures)
        for logger in trainer.loggers:
            logger.log_metrics(search_metrics(self.found), step=logger_step(trainer))
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, so that one that goes on from it finds what was searched already."""
        return {} if self._folder is None else {"folder": str(self._folder)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._earlier = Path(state_dict["folder"])
