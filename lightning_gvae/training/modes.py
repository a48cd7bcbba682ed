"""Contexts in which a model is evaluated without being changed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_gvae.interfaces import TorchModule

__all__ = ["eval_mode", "inference_mode"]


@contextmanager
def eval_mode(model: TorchModule) -> Iterator[None]:
    """Evaluation mode; every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def inference_mode(model: TorchModule) -> Iterator[None]:
    """Evaluation mode without gradients: ``torch.no_grad``, so tensors may enter autograd afterwards."""
    with eval_mode(model), torch.no_grad():
        yield
