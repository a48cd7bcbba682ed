"""Means of training scalars between two log steps, kept on the device."""

import torch
from torch import Tensor

from lightning_gvae.devices import float64

__all__ = ["RunningMeans"]


class RunningMeans:
    """Collects vectors of scalars and averages them when asked, so that a training step never waits for the device.

    ``self.log`` of several keys on every step costs milliseconds; keeping a few tensors costs nothing until the mean is
    wanted.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, ...]] = []
        self._total: Tensor | None = None  # of what came before a checkpoint
        self._count = 0

    def add(self, *values: Tensor) -> None:
        """Add one observation: scalars and vectors, each time of the same sizes."""
        self._rows.append(tuple(value.detach() for value in values))

    def pop(self) -> Tensor:
        """Means since the last call, fp64, in the order of :meth:`add`; starts anew.

        Raises:
            RuntimeError: Nothing was added.
        """
        self._fold()
        if self._total is None:
            raise RuntimeError("pop() was called before add()")
        mean = self._total / self._count
        self._total, self._count = None, 0
        return mean

    def state_dict(self) -> dict[str, Tensor | int | None]:
        """Plain state for a checkpoint."""
        self._fold()
        return {"total": self._total, "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`; the sum joins the values that come, wherever they lie."""
        self._rows, self._count = [], state["count"]
        self._total = state["total"]

    def _fold(self) -> None:
        if not self._rows:
            return
        rows = float64(torch.stack([torch.cat([value.reshape(-1) for value in row]) for row in self._rows]))
        # One addition after the other: a sum that was folded at a checkpoint has the same bits as one that was not.
        for values in rows:
            self._total = values.clone() if self._total is None else self._total.to(values.device) + values
            self._count += 1
        self._rows = []
