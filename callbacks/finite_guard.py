"""Stops a run whose loss is no longer a number."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, NonFiniteError

__all__ = ["FiniteGuard"]


class FiniteGuard(L.Callback):
    """Stops with step, beta and learning rate as soon as the loss is NaN or infinite; checkpoints stay good.

    Looking at a loss on an accelerator makes the step wait for the device. So the first bad step is remembered there
    and read every ``interval`` steps, and always before a checkpoint is written: what came after a bad step never
    replaces a good checkpoint. On a CPU every loss is looked at before its backward pass.

    Args:
        interval: Optimiser steps between two looks, at least 1; ``None`` is 1 on a CPU and 50 elsewhere.

    Raises:
        ConfigError: ``interval`` is below 1.
        NonFiniteError: While training, when the loss is not finite.
    """

    def __init__(self, interval: int | None = None) -> None:
        if interval is not None and interval < 1:
            raise ConfigError(f"`interval` must be at least 1 optimiser step, got {interval}.")
        self.interval = interval
        self._bad_step: Tensor | None = None

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Remember a bad loss, and look if it is time."""
        if loss.device.type == "cpu" and self.interval is None:
            if not math.isfinite(loss.item()):
                raise self._error(trainer, pl_module, trainer.global_step)
            return
        if self._bad_step is None:
            self._bad_step = torch.tensor(-1, device=loss.device)
        first = (self._bad_step < 0) & ~torch.isfinite(loss.detach())
        self._bad_step = torch.where(first, trainer.global_step, self._bad_step)
        if (trainer.global_step + 1) % (self.interval or 50) == 0:
            self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what came after a bad step."""
        self._check(trainer, pl_module)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bad_step is not None and self._bad_step >= 0:
            raise self._error(trainer, pl_module, int(self._bad_step))

    @staticmethod
    def _error(trainer: L.Trainer, pl_module: L.LightningModule, step: int) -> NonFiniteError:
        rates = ", ".join(f"{group['lr']:g}" for group in trainer.optimizers[0].param_groups)
        beta = float(getattr(pl_module, "beta", math.nan))
        checkpoint = next((path for path in _checkpoint_paths(trainer) if path), None)
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"
        return NonFiniteError(
            f"the loss became NaN or infinite at optimiser step {step} (beta {beta:g}, learning rate {rates}); {kept}. "
            "Try a smaller learning rate, trainer.gradient_clip_val, or look for NaN in the data."
        )


def _checkpoint_paths(trainer: L.Trainer) -> list[str]:
    paths = []
    for callback in trainer.checkpoint_callbacks:
        paths += [getattr(callback, "last_model_path", ""), getattr(callback, "best_model_path", "")]
    return paths
