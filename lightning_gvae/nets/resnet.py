"""Residual encoder and decoder with group normalisation, for images of any size from 8x8 on."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gvae.nets.conv import doubled, group_norm_of, halved
from lightning_gvae.nets.halving import doubling_widths, halvings
from lightning_gvae.nets.mlp import dense

__all__ = ["MOST_WIDTH", "ResidualBlock", "ResnetDecoder", "ResnetEncoder"]

MOST_WIDTH = 4  # times the first width


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, each behind group normalisation and an activation.

    An image's output does not depend on its neighbours in the batch.

    Args:
        channels: Channels of input and output.
        norms: Normalisation in front of each convolution, if there is any.
        activation: Activation in front of each convolution.

    References:
        He et al., Identity Mappings in Deep Residual Networks, 2016 (full pre-activation).
    """

    def __init__(self, channels: int, norms: bool = True, activation: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [group_norm_of(channels)] if norms else []
            layers += [activation or nn.SiLU(), nn.Conv2d(channels, channels, kernel_size=3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps ``(B, C, H, W)`` to the same shape."""
        return maps + self.layers(maps)


class ResnetEncoder(nn.Module):
    """Halving convolutions with residual blocks after each, then linear layers, then the posterior's parameters.

    Args:
        image_shape: ``(C, H, W)``, sides of at least 8, 1 to 4 channels.
        latent_dim: Z.
        width: Channels after the first halving; they double with every further one, up to four times the first.
        blocks: Halvings; None for as many as leave 4 to 7 pixels along each side.
        layers_per_block: Residual blocks after each halving.
        hidden: Widths of the linear layers before the head.

    Raises:
        ConfigError: The image is too small, or cannot be halved that often.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        width: int = 32,
        blocks: int | None = None,
        layers_per_block: int = 1,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        steps = halvings(image_shape, blocks, "network", "resnet")
        channels = [image_shape[0], *doubling_widths(width, len(steps), MOST_WIDTH)]
        layers: list[nn.Module] = []
        for step, (fan_in, fan_out) in zip(steps, itertools.pairwise(channels), strict=True):
            layers += [halved(fan_in, fan_out, step), *(ResidualBlock(fan_out) for _ in range(layers_per_block))]
        self.convolutions = nn.Sequential(*layers, group_norm_of(channels[-1]), nn.SiLU())
        sizes = [channels[-1] * math.prod(steps[-1].after), *hidden]
        self.layers = dense(sizes)
        self.head = nn.Linear(sizes[-1], 2 * latent_dim)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 2Z)``: means, then log-variances."""
        return self.head(self.layers(self.convolutions(images).flatten(1)))


class ResnetDecoder(nn.Module):
    """Mirror image of :class:`ResnetEncoder`.

    Args:
        image_shape: ``(C, H, W)``.
        latent_dim: Z.
        width: As of the encoder.
        blocks: As of the encoder.
        layers_per_block: Residual blocks before each doubling.
        hidden: Widths of the encoder's linear layers, mirrored here.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_dim: int,
        width: int = 32,
        blocks: int | None = None,
        layers_per_block: int = 1,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        steps = halvings(image_shape, blocks, "network", "resnet")[::-1]
        channels = [image_shape[0], *doubling_widths(width, len(steps), MOST_WIDTH)][::-1]
        self.bottleneck = (channels[0], *steps[0].after)
        sizes = [latent_dim, *reversed(hidden)]
        self.layers = dense(sizes)
        self.head = nn.Linear(sizes[-1], math.prod(self.bottleneck))
        layers: list[nn.Module] = []
        for step, (fan_in, fan_out) in zip(steps, itertools.pairwise(channels), strict=True):
            layers += [ResidualBlock(fan_in) for _ in range(layers_per_block)]
            # raw outputs: no activation on the pixels
            layers += [group_norm_of(fan_in), nn.SiLU(), doubled(fan_in, fan_out, step)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, H, W)``."""
        return self.convolutions(self.head(self.layers(latents)).unflatten(1, self.bottleneck))
