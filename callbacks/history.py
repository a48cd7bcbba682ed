"""History of a run: all that was logged, from its first step on, also after a resume."""

from array import array
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.lightning_compat import epoch_means, is_accumulating, logger_step, loggers_are_due

__all__ = ["History", "history_of"]


class History(L.Callback):
    """Keeps each scalar given to ``log`` during a fit as ``(step, name, value)``, with the steps of the loggers.

    The rows are part of every checkpoint, this step's included, so that a resumed run ends with the history of the
    uninterrupted one. Values are read from the device only at steps at which the loggers get them too. A value counts
    once: Lightning hands the loggers the last value of a name again and again until the name is next logged, and those
    repetitions are left out.

    What a module or a callback after this one logs in ``on_train_batch_end`` or ``on_train_epoch_end`` comes too late
    for the row of that step; put History after callbacks that log there.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[array[int], array[float]]] = {}
        self._seen: dict[str, Tensor] = {}
        self._stage = "fit"

    @property
    def names(self) -> list[str]:
        """Names that were logged at least once, sorted."""
        return sorted(self._rows)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (int64) and values (fp64) of a name, in the order of the steps; empty if it was never logged."""
        steps, values = self._rows.get(name, (array("q"), array("d")))
        return np.array(steps, np.int64), np.array(values, np.float64)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start anew, unless this fit goes on from an earlier one of the same Trainer."""
        self._stage = stage
        self._seen.clear()
        if stage == "fit" and logger_step(trainer) == 0:
            self._rows.clear()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Take what the loggers are about to get."""
        if pl_module.automatic_optimization and is_accumulating(trainer):
            return
        # Lightning logs after this hook and after the checkpoint, too late for the row to be saved.
        if loggers_are_due(trainer) or trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._record(trainer.logged_metrics, logger_step(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the epoch's means of what was logged with ``on_epoch=True``."""
        self._record(epoch_means(trainer), logger_step(trainer) - 1)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what is there already; it is no result of this validation."""
        if not trainer.sanity_checking:
            self._seen |= trainer.logged_metrics

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the results of the validation, of all its loaders."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._record(trainer.logged_metrics, logger_step(trainer))

    def state_dict(self) -> dict[str, Any]:
        """The rows as tensors, which ``torch.load(weights_only=True)`` can read."""
        return {
            "rows": {
                name: {
                    "steps": torch.tensor(steps, dtype=torch.int64),
                    "values": torch.tensor(values, dtype=torch.float64),
                }
                for name, (steps, values) in self._rows.items()
            }
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a checkpoint's rows; a test of an older checkpoint after a fit does not undo the fit's."""
        if self._stage != "fit" and self._rows:
            return
        self._rows = {
            name: (array("q", series["steps"].tolist()), array("d", series["values"].tolist()))
            for name, series in state_dict["rows"].items()
        }

    def _record(self, metrics: Mapping[str, Tensor], step: int) -> None:
        for name, value in metrics.items():
            # Every call of `log` makes a tensor of its own. The one seen last is kept alive, so its address is too.
            if name in self._seen and self._seen[name].data_ptr() == value.data_ptr():
                continue
            self._seen[name] = value
            self._add(name, step, float(value))

    def _add(self, name: str, step: int, value: float) -> None:
        steps, values = self._rows.setdefault(name, (array("q"), array("d")))
        if steps and steps[-1] == step:
            values[-1] = value
        else:
            steps.append(step)
            values.append(value)


def history_of(trainer: L.Trainer, who: str) -> History:
    """The History among the callbacks.

    Raises:
        ConfigError: There is none; the message says that ``who`` needs it.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, History):
            return callback
    raise ConfigError(
        f"{who} draws its curves from the History callback and there is none; add "
        "lightning_gvae.callbacks.history.History() to the Trainer's `callbacks`."
    )
