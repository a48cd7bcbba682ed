"""Readings from a run: the genome in the module's buffers, and the KL that training itself saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.ranks import sum_over_ranks

__all__ = ["ObservedKL", "read_genome", "write_genome"]


def read_genome(module: nn.Module, genes: Sequence[str], own: Sequence[float]) -> tuple[float, ...]:
    """Values of the buffers that ``genes`` name.

    Args:
        module: Has them.
        genes: Names of scalar buffers, ``(d,)``.
        own: Values that a search believes in, ``(d,)`` or none: where a buffer holds one of them rounded to its own
            precision, the value itself is returned.
    """
    buffers = dict(module.named_buffers())
    values = [float(buffers[name]) for name in genes]
    if not own:
        return tuple(values)
    rounded = [
        float(torch.tensor(value, dtype=torch.float64).to(buffers[name].dtype))
        for name, value in zip(genes, own, strict=True)
    ]
    return tuple(mine if value == kept else value for mine, kept, value in zip(own, rounded, values, strict=True))


def write_genome(module: nn.Module, genes: Sequence[str], genome: Sequence[float]) -> None:
    """Set the buffers that ``genes`` name to the values ``(d,)``."""
    buffers = dict(module.named_buffers())
    for name, value in zip(genes, genome, strict=True):
        buffers[name].fill_(value)


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
        kl = kl.detach().double()
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
