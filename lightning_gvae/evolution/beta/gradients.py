"""Gradients that come as tensors, or as ``None`` where they are zero."""

import torch
from torch import Tensor

__all__ = ["laid_out", "plus"]


def plus(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    """Sum of two gradients."""
    return new if old is None else old if new is None else old + new


def laid_out(gradient: Tensor | None, weight: Tensor) -> Tensor | None:
    """As autograd leaves it: in the weight's order of memory, in which fused optimisers go through both."""
    if gradient is None or gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
