"""Base of the searches in the latent space that follow a fit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import lightning as L

from lightning_gvae.callbacks.latent_search.options import LatentOptions
from lightning_gvae.callbacks.latent_search.trained_part import trained_on
from lightning_gvae.interfaces import DataModule, DecodesLatents, DecodesNoise, Network, offers, require
from lightning_gvae.lightning_compat import datamodule_of, logger_step
from lightning_gvae.loggers.figures import save_pictures, send_pictures
from lightning_gvae.loggers.scalars import send_scalars
from lightning_gvae.plots.pictures import Picture

__all__ = ["SearchAfterFit"]

Outcome = TypeVar("Outcome")


class SearchAfterFit(L.Callback, ABC, Generic[Outcome]):
    """Searches the latent space when a fit ends, with the weights that it ended with, and publishes what was found.

    Figures go to the report and to Weights & Biases and TensorBoard, final numbers to every logger. A search that is
    interrupted goes on when the run is resumed, wherever the resumed run has its folder. Under ``fast_dev_run`` there
    are two generations.

    Args:
        options: Of the search.
        needs_data: Whether the goal looks at data; ``bounds="auto"`` always does.

    Raises:
        ConfigError: When a fit starts: the model cannot decode, or there is no data module and one is needed.
    """

    name: ClassVar[str]  # of the callback in the configuration, and of its folder in the run folder
    options_type: ClassVar[type[LatentOptions]]  # what the constructor's keywords are settings of

    def __init__(self, options: LatentOptions, needs_data: bool) -> None:
        self.found: Outcome | None = None
        self._space, self._seed = options.space, options.seed
        self._needs_data = needs_data or options.bounds == "auto"
        self.short = False
        self._folder: Path | None = None
        self._earlier: Path | None = None

    @abstractmethod
    def search(
        self,
        model: Network,
        datamodule: DataModule | None,
        folder: Path,
        forward_context: Callable[[], AbstractContextManager[Any]],
        earlier: Path | None,
    ) -> Outcome:
        """Search on every rank; the first one writes to ``folder``."""

    @abstractmethod
    def pictures(self, found: Outcome) -> Sequence[Picture]:
        """Figures of what was found."""

    @abstractmethod
    def metrics(self, found: Outcome) -> Mapping[str, float]:
        """Final numbers by name."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail hours later."""
        if stage != "fit":
            return
        words = type(self).__name__
        interface = DecodesLatents if self._space == "latent" else DecodesNoise
        require(pl_module, interface, words, f"Choose another model, or remove it (callbacks.{self.name}=null)")
        if self._needs_data:
            who = f"{words} with `bounds=auto` or a goal for images"
            remedy = "Fit with `datamodule=`, or give bounds and a problem of your own"
            require(datamodule_of(trainer), DataModule, who, remedy)
        self._folder = Path(trainer.default_root_dir).resolve()
        self.short = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, on every rank; rank 0 writes and logs."""
        folder = trainer.strategy.broadcast(Path(trainer.default_root_dir))
        data = datamodule_of(trainer)
        datamodule = trained_on(trainer, data, self._seed) if offers(data, DataModule) else None
        context = trainer.precision_plugin.forward_context
        self.found = self.search(pl_module, datamodule, folder, context, self._earlier)
        if not trainer.is_global_zero:
            return
        pictures = self.pictures(self.found)
        save_pictures(folder, pictures, self.name)
        send_pictures(trainer, folder, pictures)
        send_scalars(trainer, self.metrics(self.found), logger_step(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Folder of the run, so that one that goes on from it finds what was searched already."""
        return {} if self._folder is None else {"folder": str(self._folder)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._earlier = Path(state_dict["folder"])
