"""Stops a run whose loss is no longer a number."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.errors import NonFiniteError

__all__ = ["FiniteGuard"]


class FiniteGuard(L.Callback):
    """Stops with step, beta and learning rate as soon as the loss is NaN or infinite; checkpoints stay good.

    On a CPU every loss is looked at before its backward pass. On an accelerator that would make every step wait for
    the device, so the first bad step is remembered there and read every ``interval`` steps, and always before a
    checkpoint is written: a checkpoint that came after a bad step never replaces a good one.

    Args:
        interval: Optimiser steps between two looks at an accelerator.

    Raises:
        NonFiniteError: While training, when the loss is not finite.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._bad_step: Tensor | None = None

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the loss, or remember it."""
        if loss.device.type == "cpu":
            if not math.isfinite(loss.item()):
                raise self._error(trainer, pl_module, trainer.global_step, loss.item())
            return
        if self._bad_step is None:
            self._bad_step = torch.tensor(-1, device=loss.device)
        first = (self._bad_step < 0) & ~torch.isfinite(loss.detach())
        self._bad_step = torch.where(first, trainer.global_step, self._bad_step)
        if (trainer.global_step + 1) % self.interval == 0:
            self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what came after a bad step."""
        self._check(trainer, pl_module)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bad_step is not None and self._bad_step >= 0:
            raise self._error(trainer, pl_module, int(self._bad_step), math.nan)

    @staticmethod
    def _error(trainer: L.Trainer, pl_module: L.LightningModule, step: int, loss: float) -> NonFiniteError:
        rates = ", ".join(f"{group['lr']:g}" for group in trainer.optimizers[0].param_groups)
        beta = float(getattr(pl_module, "beta", math.nan))
        checkpoint = next((path for path in _checkpoint_paths(trainer) if path), None)
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"
        return NonFiniteError(
            f"the loss became {loss} at optimiser step {step} (beta {beta:g}, learning rate {rates}); {kept}. "
            "Try a smaller learning rate, trainer.gradient_clip_val, or look for NaN in the data."
        )


def _checkpoint_paths(trainer: L.Trainer) -> list[str]:
    paths = []
    for callback in trainer.checkpoint_callbacks:
        paths += [getattr(callback, "last_model_path", ""), getattr(callback, "best_model_path", "")]
    return paths
