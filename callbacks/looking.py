"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["only_looking", "still"]


@contextmanager
def still(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode; every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def only_looking(model: torch.nn.Module) -> Iterator[None]:
    """The same, and no gradients are kept."""
    with still(model), torch.no_grad():
        yield
