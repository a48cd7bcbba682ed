"""Fully connected encoder and decoder for images of any shape."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["MLPDecoder", "MLPEncoder", "dense"]


def dense(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers between consecutive ``sizes``, a ReLU after each."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    """Images to posterior parameters through hidden layers.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z.
        hidden: Widths of the hidden layers; none make a linear map.
    """

    def __init__(self, image_shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = (400,)) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *hidden]
        self.layers = dense(sizes)
        self.head = nn.Linear(sizes[-1], 2 * latent_dim)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 2Z)``: means, then log-variances."""
        return self.head(self.layers(images.flatten(1)))


class MLPDecoder(nn.Module):
    """Latents to raw pixel outputs through hidden layers.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z.
        hidden: Widths of the hidden layers, in the decoder's order.
    """

    def __init__(self, image_shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = (400,)) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        sizes = [latent_dim, *hidden]
        self.layers = dense(sizes)
        self.head = nn.Linear(sizes[-1], math.prod(image_shape))

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, H, W)``."""
        return self.head(self.layers(latents)).unflatten(1, self.image_shape)
