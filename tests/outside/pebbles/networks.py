"""An encoder and a decoder."""

import math
from collections.abc import Sequence

from torch import Tensor, nn


class Encoder(nn.Sequential):
    """Images ``(B, C, H, W)`` to means and log-variances ``(B, 2Z)``."""

    def __init__(self, image_shape: Sequence[int], latent_dim: int, width: int = 32) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(math.prod(image_shape), width), nn.SiLU(), nn.Linear(width, 2 * latent_dim)
        )


class Decoder(nn.Module):
    """Latents ``(B, Z)`` to raw outputs ``(B, C, H, W)``."""

    def __init__(self, image_shape: Sequence[int], latent_dim: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent_dim, width), nn.SiLU(), nn.Linear(width, math.prod(image_shape)))
        self.shape = tuple(image_shape)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).unflatten(1, self.shape)
