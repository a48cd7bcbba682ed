"""Buffers in fp64 on devices that have no fp64."""

from typing import Any, Self

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.devices import has_float64

__all__ = ["KeepsFloat64"]


class KeepsFloat64(L.LightningModule):
    """A module whose buffers in fp64 stay on the CPU when it moves to a device without fp64, such as an Apple GPU.

    They are scalars: weights and the state of controllers. Torch takes a scalar on the CPU for a number wherever it
    meets a tensor of another device, so that nothing has to be copied, and no digit is lost. Checkpoints hold what they
    always held.
    """

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or convert, as for every module."""
        device = _device_of(*args, *kwargs.values())
        if device is None or has_float64(device):
            return super().to(*args, **kwargs)
        wide = {name: buffer for name, buffer in self.named_buffers() if buffer.dtype == torch.float64}
        for name in wide:
            self._put(name, None)
        super().to(*args, **kwargs)
        for name, buffer in wide.items():
            self._put(name, buffer.cpu())
        return self

    def _put(self, name: str, buffer: Tensor | None) -> None:
        owner, _, leaf = name.rpartition(".")
        setattr(self.get_submodule(owner), leaf, buffer)


def _device_of(*arguments: Any) -> torch.device | None:
    """The device among the arguments of ``Module.to``; None without one."""
    for given in arguments:
        if isinstance(given, Tensor):
            return given.device
        if isinstance(given, str | torch.device) or (isinstance(given, int) and not isinstance(given, bool)):
            return torch.device(given)
    return None
