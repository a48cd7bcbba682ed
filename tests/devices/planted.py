"""Faults that the harness must notice, as callbacks that a run's configuration can name."""

from typing import Any

import lightning as L
import torch

__all__ = ["Mixes", "ReadsLoss"]


class ReadsLoss(L.Callback):
    """Reads the loss of every step."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        float(outputs["loss"])


class Mixes(L.Callback):
    """Adds a tensor of the CPU to the images."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        batch[0].float() + torch.zeros(8)
