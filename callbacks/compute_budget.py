"""Stops training when a budget of compute is spent, evolution's share included."""

from typing import Protocol

import lightning as L

from lightning_gvae.errors import checked_count
from lightning_gvae.interfaces import offers

__all__ = ["ComputeBudget"]


class SpendsCompute(Protocol):
    """Callback that does more than training."""

    @property
    def extra_compute(self) -> float:
        """Passes spent so far, relative to those of training."""


class ComputeBudget(L.Callback):
    """Ends a run after ``steps`` optimiser steps' worth of compute, so that methods are compared at equal cost.

    What callbacks with an attribute ``extra_compute`` (passes relative to those of training, as
    :class:`~lightning_gvae.callbacks.beta_evolution.BetaEvolution` counts them) have spent counts as steps: a run that
    spends 10 % extra ends after ``steps / 1.1`` optimiser steps.

    Args:
        steps: Budget in optimiser steps, at least 1.

    Raises:
        ConfigError: ``steps`` is not a positive integer.
    """

    def __init__(self, steps: int) -> None:
        self.steps = checked_count("steps", steps, unit="optimiser steps")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        """Ask Lightning to stop once the budget is spent."""
        if spent(trainer) >= self.steps:
            trainer.should_stop = True


def spent(trainer: L.Trainer) -> float:
    """Compute of a run so far, in optimiser steps, evolution's share included."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    extra = [callback.extra_compute for callback in callbacks if offers(callback, SpendsCompute)]
    return trainer.global_step * (1 + sum(extra))
