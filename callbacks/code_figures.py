"""Figures of a deterministic autoencoder: reconstructions and learning curves."""

from pathlib import Path

import lightning as L
import numpy as np

from lightning_gvae.callbacks.history import History
from lightning_gvae.errors import checked_count
from lightning_gvae.interfaces import Autoencoder, DataModule, DataPart, require
from lightning_gvae.lightning_compat import datamodule_of
from lightning_gvae.loggers.figures import save_pictures, send_pictures
from lightning_gvae.plots.comparison import method_curves
from lightning_gvae.plots.images import reconstructions
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.rng import numpy_stream
from lightning_gvae.training.modes import inference_mode

__all__ = ["CodeFigures"]

REMEDY = "Remove the callback (callbacks.code_figures=null), or provide these members"
FILE = "autoencoder"  # of the list that the report reads


class CodeFigures(L.Callback):
    """Draws reconstructions of validation images and the curves of ``bce`` when a fit ends.

    For models with ``prepare`` and ``reconstruct`` and without posteriors; of the others
    :class:`~lightning_gvae.callbacks.figures.Figures` shows more. Files go to ``figures/`` in the run folder, to its
    report, and to Weights & Biases and TensorBoard if they log this run. Only rank 0 draws.

    Args:
        n_images: Validation images shown with their reconstructions, at least 1.
        seed: Seed of the choice of images.

    Raises:
        ConfigError: ``n_images`` is out of range; or, when a fit starts: the model lacks a method, or the run has no
            data module with ``val_set``.
    """

    def __init__(self, n_images: int = 8, seed: int = 0) -> None:
        self.n_images, self.seed = checked_count("n_images", n_images, unit="images"), seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what could only fail after training."""
        if stage != "fit":
            return
        _model(pl_module)
        _validation_part(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(trainer.default_root_dir)
        pictures = [self._reconstructions(_validation_part(trainer), _model(pl_module)), *_curves(trainer)]
        save_pictures(folder, pictures, FILE)
        send_pictures(trainer, folder, pictures)

    def _reconstructions(self, part: DataPart, model: Autoencoder) -> Picture:
        order = numpy_stream(self.seed, "figures/images").permutation(len(part))
        with inference_mode(model):
            shown = model.prepare(part.batch(np.sort(order[: self.n_images]))[0].to(model.device))
            again = model.reconstruct(shown)
        return Picture(
            "Reconstructions",
            "Validation images above, below them what the decoder makes of their codes.",
            "reconstructions.png",
            reconstructions(shown.float().cpu().numpy(), again.float().cpu().numpy()),
        )


def _model(pl_module: L.LightningModule) -> Autoencoder:
    return require(pl_module, Autoencoder, "CodeFigures", REMEDY)


def _validation_part(trainer: L.Trainer) -> DataPart:
    return require(datamodule_of(trainer), DataModule, "CodeFigures", f"Fit with `datamodule=`. {REMEDY}").val_set


def _curves(trainer: L.Trainer) -> list[Picture]:
    history = next((c for c in trainer.callbacks if isinstance(c, History)), None)  # type: ignore[attr-defined]
    if history is None:
        return []
    series = {name: history.series(f"{part}/bce") for name, part in (("training", "train"), ("validation", "val"))}
    runs = {name: [found] for name, found in series.items() if len(found[0])}
    if not runs:
        return []
    figure = method_curves(runs, "Learning curves", "Cross-entropy (nats per pixel)")
    return [Picture("Learning curves", "Mean over the pixels; lower is better.", "learning_curves.png", figure)]
