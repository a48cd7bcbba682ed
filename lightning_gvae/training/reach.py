"""Settings in steps or validations that a run ends before: sentences for the log, before the first step."""

import math
from collections.abc import Iterable

import lightning as L

from lightning_gvae.lightning_compat import validates_on_steps

__all__ = ["beyond", "last_step", "validations_ahead"]


def last_step(trainer: L.Trainer) -> float:
    """Optimiser steps at which the run ends, those of a run that it continues included; infinite without a limit."""
    return float(trainer.estimated_stepping_batches)


def validations_ahead(trainer: L.Trainer, end: float) -> float:
    """Validations of a run that ends at the optimiser step ``end``, by its interval; infinite without an end."""
    if not trainer.enable_validation:
        return 0
    if not math.isfinite(end):
        return math.inf
    accumulated = trainer.accumulate_grad_batches
    every, epochs = float(trainer.val_check_batch or math.inf), trainer.check_val_every_n_epoch
    a_epoch = trainer.num_training_batches
    if validates_on_steps(trainer) and isinstance(trainer.val_check_interval, int):
        batches, a_epoch = end, a_epoch if math.isinf(a_epoch) else math.ceil(a_epoch / accumulated)
    else:
        batches = end * accumulated
    if epochs is None:
        return batches // every
    if not math.isfinite(a_epoch):
        return batches // every if math.isfinite(every) else 0
    whole, rest = divmod(batches, a_epoch)
    validated = whole // epochs * (a_epoch // every)
    return validated + (rest // every if (whole + 1) % epochs == 0 else 0)


def beyond(settings: Iterable[tuple[str, float | None, float, str, str]]) -> list[str]:
    """Sentence for each setting that is larger than what the run has.

    Args:
        settings: Rows of the setting's full name, its value (None: not set), how much there is, of what, and what
            follows if there is too little.

    >>> beyond([("trainer.log_every_n_steps", 50, 30, "optimiser steps", "nothing is logged")])
    ['`trainer.log_every_n_steps` is 50, but the run has 30 optimiser steps: nothing is logged']
    """
    return [
        f"`{name}` is {value:g}, but the run has {there:g} {unit}: {follows}"
        for name, value, there, unit, follows in settings
        if value is not None and value > there
    ]
