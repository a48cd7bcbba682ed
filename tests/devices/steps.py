"""Stages of a run, and what each asks of the device: a callback that is named in the run's configuration."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L

from lightning_gvae.callbacks.beta_evolution import BetaEvolution
from lightning_gvae.lightning_compat import loggers_are_due
from tests.devices.ledger import Ledger, Tally

__all__ = ["Stage", "StepCount", "stages_of"]

FIRST = 2  # steps at the beginning, in which optimisers and guards make their tensors
ledger = Ledger()  # of this process


@dataclass
class Stage:
    """A training step, from the moment that its batch is on the device to that of the next one; or a validation.

    Attributes:
        kind: ``ordinary``, or the names of what happened in it, joined by `` + ``.
        tally: Copies and waits.
    """

    kind: str
    tally: Tally = field(default_factory=Tally)


class StepCount(L.Callback):
    """Keeps a tally of every training step and every validation, and writes all of them when the run ends."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.stages: list[Stage] = []
        self._parts: list[str] = []
        self._step = Stage("set-up")
        self._outside = Tally()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stand first, so that a step begins before anything of it is done."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        trainer.callbacks = [self, *(other for other in callbacks if other is not self)]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        ledger.turn_to(self._outside)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._close()
        if trainer.global_step >= FIRST:
            self._step = Stage("")
            ledger.turn_to(self._step.tally)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if loggers_are_due(trainer):
            self._parts.append("log")
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        evolutions = [callback for callback in callbacks if isinstance(callback, BetaEvolution)]
        if any(evolution.last_step == trainer.global_step - 1 for evolution in evolutions):
            self._parts.append("generation")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._parts.append("checkpoint")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._parts.append("epoch")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stages.append(Stage("validation"))
        self._during = ledger.turn_to(self.stages[-1].tally)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._parts.append("validation")
        ledger.turn_to(self._during)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()
        ledger.turn_to(self._outside)
        found = [(stage.kind, stage.tally.copies, stage.tally.waits) for stage in self.stages]
        self.path.write_text(json.dumps(found))

    def _close(self) -> None:
        if self._step.kind != "set-up":
            self._step.kind = " + ".join(dict.fromkeys(self._parts)) or "ordinary"
            self.stages.append(self._step)
        self._parts = []


def stages_of(path: Path) -> list[Stage]:
    """What a :class:`StepCount` has written."""
    found = json.loads(path.read_text())
    return [Stage(kind, Tally(Counter(copies), Counter(waits))) for kind, copies, waits in found]
