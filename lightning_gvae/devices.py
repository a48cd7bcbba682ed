"""Facts about the devices that tensors lie on: whether there is fp64, how much memory is free, how they are fed."""

import functools

import torch
from torch import Tensor

__all__ = ["float64", "free_memory", "has_float64", "pins_memory", "widest_float"]

WITH_FLOAT64 = ("cpu", "cuda")


def has_float64(device: torch.device) -> bool:
    """Whether tensors in fp64 can lie on a device; Apple's GPUs have none. Others are asked once in a process."""
    return device.type in WITH_FLOAT64 or _has_float64(device)


@functools.cache
def _has_float64(device: torch.device) -> bool:
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except TypeError:  # what torch raises for a type that a device does not have
        return False
    return True


def widest_float(device: torch.device) -> torch.dtype:
    """Fp64, or fp32 on a device that has no wider numbers."""
    return torch.float64 if has_float64(device) else torch.float32


def float64(values: Tensor) -> Tensor:
    """Values in fp64, where they lie; on a device without fp64 a copy on the CPU, for which the host waits."""
    return values.double() if has_float64(values.device) else values.cpu().double()


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on an accelerator; None of a CPU, and of a device that does not say."""
    if device.type == "cpu":
        return None
    ask = getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if ask is None else int(ask(device)[0])


def pins_memory(device: torch.device) -> bool:
    """Whether copies to a device are made without waiting from memory that is pinned for it; Apple's GPUs share it."""
    return device.type not in ("cpu", "mps")
