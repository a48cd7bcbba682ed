"""Numbers that no ``log`` call of a model carries, such as scores after training, to every logger of a run."""

from collections.abc import Mapping
from functools import partial

import lightning as L

from lightning_gvae.loggers.guarded import attempt

__all__ = ["send_hyperparams", "send_scalars"]


def send_scalars(trainer: L.Trainer, values: Mapping[str, float], step: int, save: bool = True) -> None:
    """Give loggers numbers by name.

    Args:
        trainer: The run's Trainer.
        values: The numbers.
        step: Step under which they stand.
        save: Whether the loggers write to the disk at once.
    """
    for logger in trainer.loggers:
        attempt(logger, "log_metrics", partial(logger.log_metrics, dict(values), step=step))
        if save:
            attempt(logger, "save", logger.save)


def send_hyperparams(trainer: L.Trainer, values: Mapping[str, object]) -> None:
    """Give loggers the run's configuration."""
    for logger in trainer.loggers:
        attempt(logger, "log_hyperparams", partial(logger.log_hyperparams, dict(values)))
