"""Scores that need a whole validation or test set."""

from typing import Any

import lightning as L
import torch

from lightning_gvae.devices import has_float64
from lightning_gvae.interfaces import Model, encodes, require
from lightning_gvae.metrics.active_units import ActiveUnits
from lightning_gvae.metrics.text import WordPerplexity

__all__ = ["Evaluation"]


REMEDY = "Remove the callback (callbacks.evaluation=null), or give the model these members"


class Evaluation(L.Callback):
    """Logs ``val/active_units`` and ``test/active_units`` from the posterior means that the model's steps return.

    Of a model without posteriors (``has_posterior = False``, a GAN) it does not. If the steps return numbers of
    ``words``, it logs ``perplexity`` (per word, ``<eos>`` counted) and ``unknown_rate`` (of the words, ``<eos>`` not
    counted).

    Args:
        threshold: Variance from which on a latent dimension counts as active.
    """

    def __init__(self, threshold: float = 0.01) -> None:
        self.threshold = threshold
        self.active_units: ActiveUnits | None = None
        self.perplexity: WordPerplexity | None = None

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self.perplexity = None
        self.active_units = None
        if encodes(model := require(pl_module, Model, "Evaluation", REMEDY)):
            self.active_units = ActiveUnits(model.latent_dim, self.threshold).to(_summed_on(model.device))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Add a batch."""
        if self.active_units is not None:
            self.active_units.update(outputs["mean"])
        if outputs is not None and "words" in outputs:
            self.perplexity = self.perplexity or WordPerplexity().to(_summed_on(pl_module.device))
            self.perplexity.update(outputs["nelbo"], len(outputs["mean"]), outputs["words"], outputs["unknown"])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the validation score."""
        self._log("val", pl_module)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self.on_validation_epoch_start(trainer, pl_module)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Add a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the test score."""
        self._log("test", pl_module)

    def _log(self, stage: str, pl_module: L.LightningModule) -> None:
        if self.perplexity is not None:
            values = {f"{stage}/{name}": value.float() for name, value in self.perplexity.compute().items()}
            pl_module.log_dict(values, sync_dist=False)
        if self.active_units is None:
            return
        # compute() sums the states over the ranks, so the value is the same on all of them already.
        pl_module.log(f"{stage}/active_units", self.active_units.compute().float(), sync_dist=False)


def _summed_on(device: torch.device) -> torch.device:
    """Device of sums in fp64."""
    return device if has_float64(device) else torch.device("cpu")
