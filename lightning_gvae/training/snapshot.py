"""Weights and optimisers of a run as they were, in memory, and the way back to them."""

import copy
from dataclasses import dataclass
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.interfaces import NamesWeights, offers

__all__ = ["Snapshot"]


@dataclass
class Snapshot:
    """Copy of what a training step changes.

    Args:
        step: Optimiser steps done.
        weights: ``state_dict`` of the module, on its device.
        optimizers: ``state_dict`` of every optimiser.
        rollbacks: How often the run had been taken back by then.
    """

    step: int
    weights: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    rollbacks: int = 0

    @classmethod
    def of(cls, trainer: L.Trainer, module: L.LightningModule, rollbacks: int) -> Self:
        """Copy what is there now."""
        return cls(
            trainer.global_step,
            {name: value.detach().clone() for name, value in module.state_dict().items()},
            [copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers],
            rollbacks,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors."""
        return {name: getattr(self, name) for name in ("step", "weights", "optimizers", "rollbacks")}

    @torch.no_grad()
    def restore(self, trainer: L.Trainer, module: L.LightningModule, shrink: float, rollbacks: int) -> None:
        """Put it back for the ``rollbacks``-th time, with all learning rates multiplied by ``shrink`` once more."""
        own = module.state_dict()
        written = module.loss_weights if offers(module, NamesWeights) else ("beta",)
        for name, value in self.weights.items():
            if name not in written or not own[name].isfinite():  # what evolution has written since is not undone
                own[name].copy_(value)
        for optimizer, state in zip(trainer.optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                for name in {"lr", "initial_lr"} & group.keys():
                    group[name] *= shrink ** (rollbacks - self.rollbacks)
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [rate * shrink for rate in scheduler.base_lrs]
