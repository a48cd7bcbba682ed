"""KL that training itself sees: corrects that of the probe, and is compared with it."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_gvae.callbacks.beta_evolution.plan import EvolutionPlan
from lightning_gvae.callbacks.beta_evolution.recent_kl import RecentKL
from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.ranks import sum_over_ranks
from lightning_gvae.training.items import batch_size_of

__all__ = ["ObservedKL", "TrainingKL"]


class TrainingKL:
    """KL of the training batches since the last generation, nats a sample, over all ranks.

    Args:
        corrects: Whether it replaces the KL of the probe (``kl_source`` is ``"training"``); otherwise it is compared
            with it, and a difference that is none of chance is warned of once.
        tolerance: Difference that is let pass, relative to the KL.
        comparable: Whether training and probe have one KL at all; the KL of a network that trains at many weights at
            once is not looked at.
    """

    def __init__(self, corrects: bool, tolerance: float, comparable: bool = True) -> None:
        self._corrects, self._tolerance, self._comparable = corrects, tolerance, comparable
        self._observed, self._recent = ObservedKL(), RecentKL()
        self._warned = False

    def add(self, outputs: Any) -> None:
        """Take note of what ``training_step`` returned.

        Raises:
            ConfigError: It has no ``kl``, and the probe's is to be replaced.
        """
        if self._corrects:
            self._observed.add(outputs)
        if self._comparable:
            self._recent.add(outputs)

    def correction(self, probe: float, trainer: L.Trainer, plan: EvolutionPlan, device: torch.device) -> float:
        """Amount by which the KL on the probe is to be raised, nats; begins anew. Every rank must call it.

        Args:
            probe: KL on the probe.
            trainer: Of the run.
            plan: Of the run.
            device: Device that the process group's backend works with.
        """
        if not self._corrects and not self._warned:
            batch = batch_size_of(trainer.train_dataloader)
            warning = self._recent.mismatch(probe, self._tolerance, plan.probe_size, batch, device)
            if warning:
                self._warned = True
                rank_zero_warn(warning)
        self._recent.clear()
        observed = self._observed.take(device) if self._corrects else None
        return 0.0 if observed is None else observed - probe

    def final(self, known: float | None, device: torch.device) -> float:
        """KL of the last batches; ``known`` if none was seen since the last generation. Every rank must call it."""
        kl = self._recent.read(device)[0]
        return known if np.isnan(kl) and known is not None else kl

    def state_dict(self) -> dict[str, float | int | None]:
        """Plain numbers, no digit lost."""
        return self._observed.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._observed.load_state_dict(state)


class ObservedKL:
    """Mean KL of the batches since the last time it was taken, nats a sample, over all ranks; kept on the device."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, outputs: Any) -> None:
        """Take note of what ``training_step`` returned.

        Raises:
            ConfigError: It has no ``kl``.
        """
        kl = outputs.get("kl") if isinstance(outputs, Mapping) else None
        if kl is None:
            raise ConfigError(
                "`kl_source` 'training' needs a module whose `training_step` returns its `kl` beside the loss; use "
                "'probe'"
            )
        kl = float64(kl.detach())
        self._sum = kl if self._sum is None else self._sum.to(kl) + kl
        self._count += 1

    def take(self, device: torch.device) -> float | None:
        """The mean, the same on every rank, which starts anew; None if nothing was seen."""
        total = 0.0 if self._sum is None else float(self._sum)
        seen = sum_over_ranks(np.array([total, self._count], dtype=np.float64), device)
        self._sum, self._count = None, 0
        return float(seen[0] / seen[1]) if seen[1] else None

    def state_dict(self) -> dict[str, float | int | None]:
        """Plain numbers, no digit lost."""
        return {"sum": None if self._sum is None else float(self._sum), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._sum = None if state["sum"] is None else torch.tensor(state["sum"], dtype=torch.float64)
        self._count = state["count"]
