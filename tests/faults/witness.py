"""What a killed process had reached, told by the process itself: a number in a file, replaced in one write."""

import os
import resource
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from lightning_gvae.problems.images import ImageGoal

PLACE = "GVAE_FAULT_WITNESS"


def tell(number: int) -> None:
    file = os.open(os.environ[PLACE], os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(file, f"{number:12d}".encode(), 0)
    finally:
        os.close(file)


def told(path: Path) -> int:
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text else 0  # it exists for a moment before it is written


class Witness(L.Callback):
    """Tells the optimiser steps that are done."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        tell(trainer.global_step)


class Goal(ImageGoal):
    """An image goal that tells how often it was asked: once a generation."""

    def bind(self, tools: Any) -> "Told":  # type: ignore[override]
        return Told(super().bind(tools))


class Told:
    def __init__(self, problem: Any) -> None:
        self.problem, self.count = problem, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.problem, name)

    def objective(self, decoded: Tensor) -> Tensor:
        self.count += 1
        tell(self.count)
        return self.problem.objective(decoded)


class FullDisk(Witness):
    """From a step on no file may grow beyond 100 kB, which is what a full disk does to a checkpoint.

    Args:
        step: Optimiser step.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        super().on_train_batch_end(trainer, pl_module)
        if trainer.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
