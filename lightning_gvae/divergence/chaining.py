"""Chained generation: what a model makes is read by the next one, or by itself again."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.interfaces import TorchModule

__all__ = ["Chain", "Codec", "chain"]


class Codec(TorchModule, Protocol):
    """Model that encodes images and decodes what it has encoded."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Codes ``(N, Z)`` first."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1]."""


class Chain(NamedTuple):
    """Images of every link and how far each lies from the one before.

    Args:
        images: ``(steps + 1, N, C, H, W)`` in [0, 1]; the first are those put in.
        moved: ``(steps,)``, mean Euclidean distance in pixels between two links.
    """

    images: Tensor
    moved: Tensor


@torch.no_grad()
def chain(models: Sequence[Codec], images: Tensor, steps: int, *, gain: float = 1.0) -> Chain:
    """Encode and decode again and again, with the models in turn.

    A single autoencoder drifts to what it reconstructs best, its fixed points; a ``gain`` above 1 pushes the codes
    outwards at every step and keeps it from coming to rest; models of two data sets argue about what they see.

    Args:
        models: Of one image shape; used in turn.
        images: ``(N, C, H, W)`` in [0, 1].
        steps: Links of the chain, at least 1.
        gain: Factor of the codes at every step, 0 or more.

    Raises:
        ConfigError: There is no model, ``steps`` is below 1, ``gain`` is negative, or a model makes another shape.
    """
    if not models:
        raise ConfigError("`models` must be at least one model with encode and decode, got none")
    if not 0 <= gain < float("inf"):
        raise ConfigError(f"`gain` must be 0 or more, got {gain!r}")
    links, moved = [images], []
    modes = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        for step in range(checked_count("steps", steps)):
            model = models[step % len(models)]
            made = model.decode(gain * model.encode(links[-1])[0])
            if made.shape != images.shape:
                raise ConfigError(
                    f"the models of a chain must share one image shape: {tuple(images.shape[1:])} went in,"
                    f" {tuple(made.shape[1:])} came out"
                )
            moved.append((made - links[-1]).flatten(1).norm(dim=1).mean())
            links.append(made)
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
    return Chain(torch.stack(links), torch.stack(moved))
