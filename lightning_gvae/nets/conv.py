"""Convolutional encoder and decoder that halve and double the image side with every layer."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.mlp import dense

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(nn.Module):
    """Convolutions of kernel 4, stride 2 and padding 1, then hidden linear layers, then the posterior's parameters.

    With channels 32-32-32-32 and two hidden layers of 256 at 64x64 this is the net of Burgess et al. (2018).

    Args:
        image_shape: ``(C, H, W)``; H and W must be divisible by 2 to the number of layers.
        latent_dim: Z.
        channels: Output channels of the convolutions.
        hidden: Widths of the linear layers.
        group_norm: Normalise groups of channels after every convolution.

    Raises:
        ConfigError: The image side cannot be halved that often.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        channels: Sequence[int],
        hidden: Sequence[int],
        group_norm: bool = False,
    ) -> None:
        super().__init__()
        bottleneck = _bottleneck(image_shape, channels)
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip([image_shape[0], *channels[:-1]], channels, strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1)]
            layers += [*_norm(fan_out, group_norm), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        self.layers = dense([math.prod(bottleneck), *hidden])
        self.head = nn.Linear(hidden[-1], 2 * latent_dim)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 2Z)``: means, then log-variances."""
        return self.head(self.layers(self.convolutions(images).flatten(1)))


class ConvDecoder(nn.Module):
    """Mirror image of :class:`ConvEncoder`.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z.
        channels: Channels of the *encoder*, mirrored here.
        hidden: Widths of the encoder's linear layers, mirrored here.
        group_norm: Normalise groups of channels before and after every convolution but the last.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        channels: Sequence[int],
        hidden: Sequence[int],
        group_norm: bool = False,
    ) -> None:
        super().__init__()
        self.bottleneck = _bottleneck(image_shape, channels)
        self.layers = dense([latent_dim, *reversed(hidden), math.prod(self.bottleneck)])
        mirrored = [*reversed(channels), image_shape[0]]
        layers: list[nn.Module] = [*_norm(mirrored[0], group_norm)]
        for fan_in, fan_out in itertools.pairwise(mirrored[:-1]):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1)]
            layers += [*_norm(fan_out, group_norm), nn.ReLU(inplace=True)]
        # raw outputs: no activation on the pixels
        layers += [nn.ConvTranspose2d(mirrored[-2], mirrored[-1], kernel_size=4, stride=2, padding=1)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, H, W)``."""
        return self.convolutions(self.layers(latents).unflatten(1, self.bottleneck))


def _norm(channels: int, wanted: bool) -> list[nn.Module]:
    return [nn.GroupNorm(math.gcd(8, channels), channels)] if wanted else []


def _bottleneck(image_shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int, int]:
    factor = 2 ** len(channels)
    _, height, width = image_shape
    if height % factor or width % factor:
        raise ConfigError(
            f"`image_shape` must have sides divisible by {factor} for {len(channels)} halving layers, got "
            f"{height}x{width}; use fewer channels or network=mlp."
        )
    return channels[-1], height // factor, width // factor
