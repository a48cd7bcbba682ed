"""Finds where in a model numbers stop being finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.interfaces import HasElbo, PreparesBatches, offers

__all__ = ["first_bad_layer"]


def first_bad_layer(module: L.LightningModule, batch: Any) -> str:
    """In words, the first place with a number that is NaN or infinite: the batch, a weight, or a layer's output.

    The model runs once more, without gradients, with the same random numbers, and as it is: metrics and counters of
    layers such as batch normalisation may move, so this is for a model that is not trained on as it stands.

    Args:
        module: Of this package, or any with ``forward``.
        batch: What it was trained on when its loss became bad; None if it is not known any more.
    """
    bad = next((name for name, value in _floats(module) if not value.isfinite().all()), None)
    if bad is not None:
        return f"the weights {bad}"
    if batch is None:
        return "a layer that is not known any more (the loss was looked at later)"
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if isinstance(images, Tensor) and images.is_floating_point() and not images.isfinite().all():
        return "the batch itself"
    with torch.no_grad(), preserved_rng(module.device), _watched(module) as found:
        try:
            inputs = module.prepare(batch) if offers(module, PreparesBatches) else images
            run = module.elbo_terms if offers(module, HasElbo) else module
            run(inputs)
        except (RuntimeError, ValueError, TypeError):
            pass  # what was found up to there counts
    return f"the output of {found[0]}" if found else "the loss itself: all weights and outputs are finite"


def _floats(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point():
            yield name, value


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Names of the layers without children whose output is not finite, in the order in which they ran."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and not output.isfinite().all():
                found.append(name)

        return look

    handles = [
        child.register_forward_hook(watch(f"{name} ({type(child).__name__})"))
        for name, child in module.named_modules()
        if name and not any(True for _ in child.children())
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
