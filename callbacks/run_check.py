"""Says before the first step which settings the run is too short for."""

from typing import Any, Protocol

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.compute_budget import ComputeBudget
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.interfaces import offers
from lightning_gvae.lightning_compat import validates_on_steps
from lightning_gvae.training.reach import beyond, last_step, validations_ahead

__all__ = ["RunCheck", "too_long"]

Row = tuple[str, float | None, float, str, str]


class RunCheck(L.Callback):
    """Compares intervals in steps and in validations with the length of the run; one sentence each in the log.

    The length is the Trainer's own estimate (``estimated_stepping_batches``). A run without a limit is not judged.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what will not take place."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for sentence in too_long(trainer):
            rank_zero_info(sentence)


def too_long(trainer: L.Trainer) -> list[str]:
    """Sentence for each setting that is beyond the run's end."""
    end = last_step(trainer)
    if trainer.global_step >= end:
        return []
    validations = validations_ahead(trainer, end)
    every: float = trainer.log_every_n_steps  # type: ignore[attr-defined]
    rows: list[Row] = [("trainer.log_every_n_steps", every, end, "optimiser steps", "no training step is logged")]
    at_end = validates_on_steps(trainer)  # ValidationSchedule
    if trainer.enable_validation and validations < 1:
        follows = VALIDATED_ONCE if at_end else UNVALIDATED
        if trainer.check_val_every_n_epoch is None:
            there = (end, "optimiser steps") if at_end else (end * trainer.accumulate_grad_batches, "batches")
            rows.append(("trainer.val_check_interval", trainer.val_check_batch, *there, follows))
        else:
            epochs = end * trainer.accumulate_grad_batches / trainer.num_training_batches
            rows.append(("trainer.check_val_every_n_epoch", trainer.check_val_every_n_epoch, epochs, "epochs", follows))
        validations = 1 if at_end else validations
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        rows += _rows(callback, end, validations)
    return beyond(rows)


class CountsValidations(Protocol):
    """Callback that acts after some validations: Figures, Scores and their like, not imported for speed."""

    every_n_validations: int | None


VALIDATED_ONCE = "it is validated once, when it ends"
UNVALIDATED = "there is no validation, so no best checkpoint and no validation scores"


def _rows(callback: L.Callback, end: float, validations: float) -> list[Row]:
    """Settings of a callback that count steps or validations."""
    steps, checks = (end, "optimiser steps"), (validations, "validations")
    if isinstance(callback, LastCheckpoint):
        follows = "`last.ckpt` is written when the run ends or is told to, so a run that is killed is lost"
        return [("callbacks.last_checkpoint.every_n_train_steps", callback.interval, *steps, follows)]
    if isinstance(callback, ComputeBudget):
        return [("callbacks.compute_budget.steps", callback.steps, *steps, "the budget is not spent")]
    every = callback.every_n_validations if offers(callback, CountsValidations) else None
    if every is not None:
        name = f"callbacks.{type(callback).__name__.lower()}.every_n_validations"
        return [(name, every, *checks, "it does nothing while the run trains")]
    if isinstance(callback, FiniteGuard):
        return [("callbacks.finite_guard.interval", callback.interval, *steps, "losses are checked at the end only")]
    if isinstance(callback, EarlyStopping):
        return [("callbacks.early_stopping.patience", callback.patience, *checks, "the run is not stopped early")]
    return []
