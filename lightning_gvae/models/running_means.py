"""Means of training scalars between two log steps, kept on the device."""

import torch
from torch import Tensor

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

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """Continue from :meth:`state_dict`."""
        self._rows, self._count = [], state["count"]
        self._total = None if state["total"] is None else state["total"].to(device)

    def _fold(self) -> None:
        # One addition after the other: a sum that was folded at a checkpoint has the same bits as one that was not.
        for row in self._rows:
            values = torch.cat([value.reshape(-1) for value in row]).double()
            self._total = values if self._total is None else self._total + values
            self._count += 1
        self._rows = []
