"""Comparison of the KL on the probe with that of the batches that were trained on last."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.evolution.ranks import sum_over_ranks

__all__ = ["RecentKL"]

MOST = 16  # batches: few enough that the weights have hardly moved
LEAST = 8
ERRORS = 6.0  # standard errors beyond which a difference is none of chance


class RecentKL:
    """KL of the last 16 training batches since it was cleared, nats a sample; kept on the device until it is read."""

    def __init__(self) -> None:
        self._kept: deque[Tensor] = deque(maxlen=MOST)

    def add(self, outputs: Any) -> None:
        """Take note of what ``training_step`` returned, if it has a ``kl``."""
        kl = outputs.get("kl") if isinstance(outputs, Mapping) else None
        if isinstance(kl, Tensor):
            self._kept.append(kl.detach())

    def clear(self) -> None:
        """Forget all: the KL weight changes."""
        self._kept.clear()

    def read(self, device: torch.device) -> tuple[float, float, int]:
        """Mean, standard deviation and number of the batches of all ranks; every rank must call it."""
        values = torch.stack(list(self._kept)).cpu().double().numpy() if self._kept else np.zeros(0)
        centre = values.mean() if len(values) else 0.0
        sums = sum_over_ranks(np.array([len(values), values.sum(), len(values) * centre**2]), device)
        spread = sum_over_ranks(np.array([np.square(values - centre).sum()]), device)
        count = int(sums[0])
        if not count:
            return float("nan"), float("nan"), 0
        mean = float(sums[1] / count)
        between = max(float(sums[2]) - count * mean**2, 0.0)
        return mean, float(np.sqrt((spread[0] + between) / count)), count

    def mismatch(
        self, probe: float, tolerance: float, probe_size: int, batch_size: int, device: torch.device
    ) -> str | None:
        """Warning if the probe's KL is not that of training; None if it is, or too little was seen.

        Args:
            probe: KL on the probe, nats a sample.
            tolerance: Difference that is let pass, relative to the KL of training.
            probe_size: Samples in the probe.
            batch_size: Samples in a batch.
            device: Device that the process group's backend works with.
        """
        mean, spread, count = self.read(device)
        if count < LEAST:
            return None
        chance = spread * np.sqrt(batch_size / max(probe_size, 1) + 1 / count)
        if abs(probe - mean) <= max(tolerance * abs(mean), ERRORS * chance):
            return None
        return (
            f"BetaEvolution: the KL is {probe:.3g} nats on the probe, but {mean:.3g} on the last {count} "
            "training batches; "
            "candidates are judged on data other than those that are trained on. Check that the loader's collate "
            "function, "
            "augmentation and transfer hooks give the same for any items, and `trained_terms` of the model; or let the "
            "KL be read from training (`callbacks.beta_evolution.kl_source=training`)"
        )
