"""Access to what Lightning decides and does not say in public; no other module touches its private parts.

Each function gives its reason. ``tests/test_lightning_compat.py`` compares each with a Trainer at work, and fails where
a new version of Lightning has changed what is relied on here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

__all__ = [
    "datamodule_of",
    "epoch_means",
    "finds_unused_parameters",
    "is_accumulating",
    "is_between_batches",
    "leave_finished_epoch",
    "logger_step",
    "loggers_are_due",
    "one_optimizer_step",
    "repeats_batches",
    "restore_logger_step",
    "run_ends_here",
    "stops_early",
    "validate_now",
    "validate_on_steps",
    "validates_on_steps",
    "validation_follows",
]


def datamodule_of(trainer: L.Trainer) -> L.LightningDataModule | None:
    """Data module of the run under way; None if there is none.

    By the public attribute; kept here because Lightning sets it without declaring it.
    """
    return trainer.datamodule  # type: ignore[attr-defined]


def logger_step(trainer: L.Trainer) -> int:
    """Step under which Lightning's loggers write at this moment: batches that led to an optimiser step, from 0.

    Private because the public ``global_step`` is one ahead within ``on_train_batch_end`` and level with it elsewhere:
    what is logged under ``global_step`` would stand in other rows than the values of ``log``.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def loggers_are_due(trainer: L.Trainer) -> bool:
    """Whether the loggers get the values of the training step under way; Lightning gives them after all hooks."""
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and ((logger_step(trainer) + 1) % every == 0 or trainer.should_stop)


def epoch_means(trainer: L.Trainer) -> Mapping[str, Tensor]:
    """Values that the loggers are about to get, in ``on_train_epoch_end``: means of what was logged with ``on_epoch``.

    Private because the public ``logged_metrics`` mixes them with all values of earlier steps.
    """
    return trainer._logger_connector.metrics["log"]


def is_accumulating(trainer: L.Trainer) -> bool:
    """Whether the batch under way of an automatic optimisation ends without an optimiser step.

    By public attributes; kept here because it repeats a rule of Lightning that has no public name.
    """
    batches = trainer.fit_loop.batch_idx + 1
    if batches % trainer.accumulate_grad_batches == 0:
        return False
    is_last = trainer.is_last_batch or batches >= trainer.num_training_batches
    return trainer.strategy.handles_gradient_accumulation or not is_last


def repeats_batches(trainer: L.Trainer | None) -> bool:
    """Whether every epoch is to repeat the same few batches (``overfit_batches``).

    By the public attribute; kept here because Lightning sets it without declaring it.
    """
    return trainer is not None and trainer.overfit_batches > 0  # type: ignore[attr-defined]


def validation_follows(trainer: L.Trainer) -> bool:
    """Whether Lightning validates after the training batch under way.

    False also where Lightning has not looked at the validation data yet, as before the first validation of a run that
    validates every second epoch.

    Private because the rule depends on seven settings of the Trainer and is applied after ``on_train_batch_end``, which
    is too late for a checkpoint that must come after the validation.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    return fetcher is not None and loop._should_check_val_fx(fetcher) and not loop.val_loop.skip


def validate_on_steps(trainer: L.Trainer, also: Callable[[], bool]) -> None:
    """Lets a whole number as ``val_check_interval`` count optimiser steps, and every validation wait for such a step.

    Lightning counts batches. Under gradient accumulation it validates, and saves checkpoints, between two steps, where
    the gradients gathered so far are in no checkpoint. Where another interval ends between two steps, as a fraction of
    an epoch may, the validation takes place after the step that follows.

    Private because Lightning has no setting for when it validates other than that interval.

    Args:
        trainer: A Trainer that is about to fit.
        also: Whether to validate after the optimiser step just made, whatever the interval says.
    """
    trainer.fit_loop.epoch_loop._should_check_val_fx = partial(_validation_is_due, trainer, also)  # type: ignore[method-assign]


def validates_on_steps(trainer: L.Trainer) -> bool:
    """Whether :func:`validate_on_steps` decides when the Trainer validates."""
    return isinstance(trainer.fit_loop.epoch_loop._should_check_val_fx, partial)


def _validation_is_due(trainer: L.Trainer, also: Callable[[], bool], data_fetcher: Any) -> bool:
    loop = trainer.fit_loop.epoch_loop
    if not trainer.enable_validation or loop._should_accumulate():
        return False
    if loop.restarting and loop.restarted_on_last:
        # The checkpoint is of after a batch and its validation; told so, Lightning goes on with the next batch. Whether
        # the validation would be due by the present settings does not count.
        return True
    if also():
        return True
    if not loop._should_check_val_epoch():
        return False
    if stops_early(trainer):
        return True
    timed: Any = trainer  # attributes that Lightning sets without declaring them
    if timed._val_check_time_interval is not None:
        return time.monotonic() - timed._last_val_time >= timed._val_check_time_interval
    whole_run = trainer.check_val_every_n_epoch is None
    if isinstance(trainer.val_check_interval, int) and not isinstance(trainer.val_check_interval, bool):
        automatic = trainer.lightning_module.automatic_optimization
        # A step of several optimisers is one batch.
        in_run = trainer.global_step if automatic else loop.total_batch_idx + 1
        in_epoch = -(-(loop.batch_idx + 1) // trainer.accumulate_grad_batches)
        return (in_run if whole_run else in_epoch) % trainer.val_check_interval == 0
    every = trainer.val_check_batch
    if every is None or every == float("inf"):
        return loop.batch_progress.is_last_batch
    batches = loop.batch_idx + 1
    before = (batches - 1) // trainer.accumulate_grad_batches * trainer.accumulate_grad_batches
    return batches // every > before // every


def validate_now(trainer: L.Trainer) -> None:
    """Validates from within ``on_train_epoch_end``, as Lightning does after a batch, under the last batch's step.

    Private because the public ``validate`` is a run of its own, whose results no callback of the fit would see.
    """
    loop = trainer.fit_loop.epoch_loop
    trainer.validating = True
    first = trainer._logger_connector._first_loop_iter
    loop._batches_that_stepped -= 1
    loop.val_loop.run()
    loop._batches_that_stepped += 1
    trainer.training = True
    trainer._logger_connector._first_loop_iter = first


def stops_early(trainer: L.Trainer) -> bool:
    """Whether somebody has asked the run to stop, and ``min_steps`` and ``min_epochs`` allow it.

    Private because the public ``should_stop`` says the first half only.
    """
    return trainer.should_stop and trainer.fit_loop._can_stop_early


def run_ends_here(trainer: L.Trainer) -> bool:
    """Whether the batch under way, or just done, is the last of the run: by steps, by epochs, or because it is to stop.

    Private because of :func:`stops_early`, and because the public counters of epochs do not say whether the epoch under
    way is counted already.
    """
    loop = trainer.fit_loop
    if stops_early(trainer) or (trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps):
        return True
    if trainer.max_epochs in (None, -1) or not loop.epoch_loop._num_ready_batches_reached():
        return False
    epochs: Any = loop.epoch_progress.current
    return epochs.processed + int(epochs.processed < epochs.started) >= trainer.max_epochs


def is_between_batches(trainer: L.Trainer) -> bool:
    """Whether a fit is between two batches of an epoch: all that belongs to the last one is done, nothing of the next.

    By public attributes of the loops; kept here because what they mean is a rule of Lightning.
    """
    epoch: Any = trainer.fit_loop.epoch_progress.current
    batches = trainer.fit_loop.epoch_loop.batch_progress.current
    within = epoch.started > epoch.processed
    return trainer.training and within and batches.ready == batches.completed and not is_accumulating(trainer)


def restore_logger_step(trainer: L.Trainer) -> None:
    """Puts the loggers' step right at the first batch of a run that goes on.

    Lightning counts the batches that led to a step after checkpoints are saved, and guesses on a resumption whether the
    last one is counted; where a validation or an epoch's end lay between, it guesses wrong, and all further rows are
    one step off.

    Private because the public ``global_step`` is not what the loggers are given.
    """
    if trainer.lightning_module.automatic_optimization:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def leave_finished_epoch(trainer: L.Trainer) -> None:
    """Lets a run that resumes from a checkpoint of an epoch's very end go on with the next epoch.

    Under ``max_steps`` Lightning 2.6 enters the finished epoch once more: its end hooks run twice and its count of
    epochs is one ahead from there on, so another epoch's images are shown and ``max_epochs`` stops one epoch early.
    It asks for the training loader just before it decides; told that it does not restart inside an epoch, it takes
    the path of runs without ``max_steps``, which is right.

    Private because the public setter of ``restarting`` puts True back under ``max_steps``.
    """
    loop = trainer.fit_loop
    if not loop.restarting:
        return
    loop.update_restart_stage()
    if loop.restarted_on_epoch_end:
        loop._restarting = False
        loop.epoch_loop.restarting = False


def finds_unused_parameters(strategy: DDPStrategy) -> bool:
    """Whether DDP will look for parameters without a gradient.

    Private because the public attribute belongs to the wrapped model, which does not exist yet when a model is set up;
    a run that cannot work is to be refused before its processes are connected.
    """
    return bool(strategy._ddp_kwargs.get("find_unused_parameters"))


@contextmanager
def one_optimizer_step(optimizers: Sequence[LightningOptimizer]) -> Iterator[None]:
    """Context in which the steps of several optimisers count as one step of the Trainer, made when it ends.

    Private because Lightning counts every optimiser's step by two hooks, which it sets before each batch; silencing
    them is the way round that its issue 17958 names.
    """
    before, after = optimizers[0]._on_before_step, optimizers[0]._on_after_step
    for optimizer in optimizers:
        optimizer._on_before_step = optimizer._on_after_step = _nothing
    yield
    before()
    after()


def _nothing() -> None:
    """Stands in for the counting hooks of an optimiser."""
