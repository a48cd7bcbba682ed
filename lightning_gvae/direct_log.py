"""Scalars logged as Lightning logs them, without its bookkeeping, which takes 0.2 ms a name."""

from collections.abc import Mapping

import lightning as L
from torch import Tensor

__all__ = ["log_directly"]


def log_directly(
    trainer: L.Trainer, values: Mapping[str, Tensor], loggers: bool = True, callbacks: bool = True
) -> None:
    """What ``module.log_dict`` of a training step leads to, for values that are to be taken as they are.

    They go to ``trainer.callback_metrics``, ``trainer.logged_metrics`` and the loggers at once, under the step in progress; there
    is no mean over an epoch or over ranks.

    Args:
        trainer: Trainer in a training step.
        values: Scalars by name.
        loggers: ``False`` on a step that is not for logging.
        callbacks: ``False`` for what callbacks, and the summary of a run with them, are not to see.
    """
    connector = trainer._logger_connector
    if callbacks:
        connector._callback_metrics.update(values)
    connector._logged_metrics.update(values)
    if loggers:
        connector.log_metrics(dict(values))
