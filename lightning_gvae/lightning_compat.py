"""Access to what Lightning decides and does not say in public; no other module touches its private parts.

Each function gives its reason. ``tests/test_lightning_compat.py`` compares each with a Trainer at work, and fails where
a new version of Lightning has changed what is relied on here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

__all__ = [
    "datamodule_of",
    "epoch_means",
    "finds_unused_parameters",
    "is_accumulating",
    "leave_finished_epoch",
    "logger_step",
    "loggers_are_due",
    "one_optimizer_step",
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


def validation_follows(trainer: L.Trainer) -> bool:
    """Whether Lightning validates after the training batch under way.

    False also where Lightning has not looked at the validation data yet, as before the first validation of a run that
    validates every second epoch.

    Private because the rule depends on seven settings of the Trainer and is applied after ``on_train_batch_end``, which
    is too late for a checkpoint that must come after the validation.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    return fetcher is not None and loop._should_check_val_fx(fetcher) and not loop.val_loop.skip


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
