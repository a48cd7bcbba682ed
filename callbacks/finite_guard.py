"""Stops a run whose loss is no longer a number, or takes it back to where it was one."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_gvae.errors import ConfigError, NonFiniteError, checked_count
from lightning_gvae.interfaces import HasBeta, offers
from lightning_gvae.training.bad_layer import first_bad_layer
from lightning_gvae.training.snapshot import Snapshot

__all__ = ["FiniteGuard"]


class FiniteGuard(L.Callback):
    """Stops with step, layer, beta and learning rate as soon as the loss is NaN or infinite; checkpoints stay good.

    Looking at a loss on an accelerator makes the step wait for the device. So the first bad step is remembered there
    and read every ``interval`` steps, and always before a checkpoint is written: what came after a bad step never
    replaces a good checkpoint. On a CPU every loss is looked at before its backward pass.

    With ``rollback`` a bad step is undone instead: weights, buffers and optimisers go back to the last snapshot, every
    learning rate is multiplied by ``shrink``, and training goes on with the next batch. Every loss is looked at then,
    and snapshots, which are part of the checkpoints, cost their memory. A schedule keeps its shape.

    Args:
        interval: Optimiser steps between two looks, at least 1; ``None`` is 1 on a CPU or with ``rollback``, else 50.
        rollback: How often a run may be taken back; 0 stops it at once.
        shrink: Factor of the learning rates, in (0, 1).
        snapshot_every: Optimiser steps between snapshots, at least 1.

    Raises:
        ConfigError: An argument is out of its range.
        NonFiniteError: While training, when the loss is not finite and the run cannot be taken back any more.
    """

    def __init__(
        self, interval: int | None = None, rollback: int = 0, shrink: float = 0.5, snapshot_every: int = 100
    ) -> None:
        if interval is not None and interval < 1:
            raise ConfigError(f"`interval` must be at least 1 optimiser step, got {interval}.")
        if rollback and interval not in (None, 1):
            raise ConfigError(
                f"`interval` must be 1 where bad steps are undone (`rollback` {rollback}), got {interval}."
            )
        if not 0 < shrink < 1:
            raise ConfigError(f"`shrink` must be a factor between 0 and 1, got {shrink}.")
        self.interval, self.shrink = interval, shrink
        self.rollback = checked_count("rollback", rollback, least=0)
        self.snapshot_every = checked_count("snapshot_every", snapshot_every, unit="optimiser steps")
        self.rollbacks = 0
        self._bad_step: Tensor | None = None
        self._bad = False  # of the step under way, with rollback
        self._batch: Any = None
        self._snapshot: Snapshot | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the first snapshot, unless the checkpoint brought one."""
        if self.rollback and self._snapshot is None:
            self._snapshot = Snapshot.of(trainer, pl_module, self.rollbacks)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch until the end of the step, to find the layer if its loss is bad."""
        self._batch = batch

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Remember a bad loss, and look if it is time."""
        if self.rollback:
            self._bad = self._bad or not math.isfinite(loss.item())
            return
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

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Undo the step if it was bad, or take a snapshot if it is time."""
        self._batch = None
        if not self.rollback:
            return
        # Every rank must take the same decision.
        flag = torch.tensor(float(self._bad), device=pl_module.device)
        if trainer.strategy.reduce(flag, reduce_op="sum") > 0:
            self._undo(trainer, pl_module, batch)
        elif trainer.global_step % self.snapshot_every == 0 and _all_finite(pl_module):
            self._snapshot = Snapshot.of(trainer, pl_module, self.rollbacks)
        self._bad = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what came after a bad step."""
        self._check(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Number of rollbacks so far, and the snapshot; empty without ``rollback``."""
        if not self.rollback:
            return {}
        snapshot = None if self._snapshot is None else self._snapshot.state_dict()
        return {"rollbacks": self.rollbacks, "snapshot": snapshot}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        if self.rollback and state_dict.get("snapshot") is not None:
            self.rollbacks = state_dict["rollbacks"]
            self._snapshot = Snapshot(**state_dict["snapshot"])

    def _undo(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any) -> None:
        step = trainer.global_step - 1
        error = self._error(trainer, pl_module, step, batch)
        if self.rollbacks >= self.rollback:
            raise error
        assert self._snapshot is not None
        self.rollbacks += 1
        self._snapshot.restore(trainer, pl_module, self.shrink, self.rollbacks)
        rates = ", ".join(sorted({f"{group['lr']:g}" for o in trainer.optimizers for group in o.param_groups}))
        rank_zero_warn(
            f"{str(error).split(';')[0]}. Taken back to the weights of step {self._snapshot.step} "
            f"({self.rollbacks} of {self.rollback} times); learning rate now {rates}."
        )

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bad_step is not None and self._bad_step >= 0:
            raise self._error(trainer, pl_module, int(self._bad_step))

    def _error(self, trainer: L.Trainer, pl_module: L.LightningModule, step: int, batch: Any = None) -> NonFiniteError:
        rates = ", ".join(f"{group['lr']:g}" for group in trainer.optimizers[0].param_groups)
        beta = float(pl_module.beta) if offers(pl_module, HasBeta) else math.nan
        layer = first_bad_layer(pl_module, self._batch if batch is None else batch)
        checkpoint = next((path for path in _checkpoint_paths(trainer) if path), None)
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"
        return NonFiniteError(
            f"the loss became NaN or infinite at optimiser step {step} (beta {beta:g}, learning rate {rates}), "
            "first in "
            f"{layer}; {kept}. Try a smaller learning rate, trainer.gradient_clip_val, "
            "callbacks.finite_guard.rollback=3, "
            "or look for NaN in the data."
        )


def _all_finite(module: torch.nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in module.state_dict().values() if value.is_floating_point())


def _checkpoint_paths(trainer: L.Trainer) -> list[str]:
    paths = []
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            paths += [callback.last_model_path, callback.best_model_path]
    return paths
