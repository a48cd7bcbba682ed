"""Means of training scalars between two log steps, kept on the device."""

import torch
from torch import Tensor

__all__ = ["RunningMeans"]


class RunningMeans:
    """Adds vectors up without leaving the device, so that a training step never waits for it.

    ``self.log`` of several keys on every step costs milliseconds; adding one small vector costs microseconds.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, values: Tensor) -> None:
        """Add one observation of a vector of scalars."""
        values = values.detach().double()
        self.total = values if self.total is None else self.total + values
        self.count += 1

    def pop(self) -> Tensor:
        """Means since the last call, fp64; starts anew.

        Raises:
            RuntimeError: Nothing was added.
        """
        if self.total is None:
            raise RuntimeError("pop() was called before add()")
        mean = self.total / self.count
        self.total, self.count = None, 0
        return mean

    def state_dict(self) -> dict[str, Tensor | int | None]:
        """Plain state for a checkpoint."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """Continue from :meth:`state_dict`."""
        self.total = None if state["total"] is None else state["total"].to(device)
        self.count = state["count"]
