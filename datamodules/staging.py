"""Batches on their way to an accelerator: made ahead by a thread, packed into one piece of memory, copied at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lightning_gvae.devices import pins_memory

__all__ = ["Packed", "made_ahead", "pack", "to_device"]

T = TypeVar("T")
ALIGNMENT = 16  # bytes; kernels read several numbers at a time
END = object()


class Packed(NamedTuple):
    """Tensors in one piece of memory, as they cross the bus: images as bytes, not as the floats that they become.

    Attributes:
        memory: Bytes ``(N,)``, pinned where the device is fed from pinned memory.
        parts: First byte, type and shape of each tensor.
    """

    memory: Tensor
    parts: tuple[tuple[int, torch.dtype, torch.Size], ...]

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The tensors on a device, by one copy for which the host does not wait."""
        memory = self.memory.to(device, non_blocking=True)
        return tuple(_view(memory, *part) for part in self.parts)


def pack(tensors: Sequence[Tensor], device: torch.device) -> Packed:
    """Copies of tensors on the CPU, ready to go to a device."""
    parts, end = [], 0
    for tensor in tensors:
        parts.append((end, tensor.dtype, tensor.shape))
        end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    memory = torch.empty(end, dtype=torch.uint8, pin_memory=pins_memory(device))
    packed = Packed(memory, tuple(parts))
    for part, tensor in zip(packed.parts, tensors, strict=True):
        _view(memory, *part).copy_(tensor)
    return packed


def to_device(tensors: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
    """Tensors of the CPU on an accelerator, by one copy."""
    return pack(tensors, device).on(device)


def made_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before is in use.

    An error in making one is raised where it would be handed out.
    """
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(next, items, END)
        while (item := coming.result()) is not END:
            coming = pool.submit(next, items, END)
            yield item  # type: ignore[misc]


def _view(memory: Tensor, start: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return memory[start : start + shape.numel() * dtype.itemsize].view(dtype).view(shape)
