"""Convolutional encoder and decoder that halve and double the image's sides with every layer."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gvae.nets.halving import Halving, halvings
from lightning_gvae.nets.mlp import dense

__all__ = ["ConvDecoder", "ConvEncoder", "doubled", "group_norm_of", "halved"]


class ConvEncoder(nn.Module):
    """Convolutions of kernel 4, stride 2 and padding 1, then hidden linear layers, then the posterior's parameters.

    With channels 32-32-32-32 and two hidden layers of 256 at 64x64 this is the net of Burgess et al. (2018). Along a
    side that is small already the kernel is 3 and the stride 1.

    Args:
        image_shape: ``(C, H, W)``, sides of at least 8, 1 to 4 channels.
        latent_dim: Z.
        channels: Output channels of the convolutions.
        hidden: Widths of the linear layers.
        group_norm: Normalise groups of channels after every convolution.

    Raises:
        ConfigError: The image is too small, or cannot be halved that often.
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
        steps = halvings(image_shape, len(channels), "network", "conv")
        layers: list[nn.Module] = []
        for step, (fan_in, fan_out) in zip(steps, itertools.pairwise([image_shape[0], *channels]), strict=True):
            layers += [halved(fan_in, fan_out, step)]
            layers += [*_norm(fan_out, group_norm), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        sizes = [channels[-1] * math.prod(steps[-1].after), *hidden]
        self.layers = dense(sizes)
        self.head = nn.Linear(sizes[-1], 2 * latent_dim)

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
        steps = halvings(image_shape, len(channels), "network", "conv")[::-1]
        self.bottleneck = (channels[-1], *steps[0].after)
        self.layers = dense([latent_dim, *reversed(hidden), math.prod(self.bottleneck)])
        mirrored = [*reversed(channels), image_shape[0]]
        layers: list[nn.Module] = [*_norm(mirrored[0], group_norm)]
        for step, (fan_in, fan_out) in zip(steps[:-1], itertools.pairwise(mirrored[:-1]), strict=True):
            layers += [doubled(fan_in, fan_out, step)]
            layers += [*_norm(fan_out, group_norm), nn.ReLU(inplace=True)]
        # raw outputs: no activation on the pixels
        layers += [doubled(mirrored[-2], mirrored[-1], steps[-1])]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, H, W)``."""
        return self.convolutions(self.layers(latents).unflatten(1, self.bottleneck))


def halved(fan_in: int, fan_out: int, step: Halving) -> nn.Conv2d:
    """Convolution from the sides ``step.before`` to ``step.after``."""
    return nn.Conv2d(fan_in, fan_out, step.kernel, step.stride, padding=1)


def doubled(fan_in: int, fan_out: int, step: Halving) -> nn.ConvTranspose2d:
    """Transposed convolution from the sides ``step.after`` back to ``step.before``, odd ones too."""
    return nn.ConvTranspose2d(fan_in, fan_out, step.kernel, step.stride, padding=1, output_padding=step.output_padding)


def group_norm_of(channels: int) -> nn.GroupNorm:
    """Group normalisation with 8 groups, or as many up to it as divide the channels."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _norm(channels: int, wanted: bool) -> list[nn.Module]:
    return [group_norm_of(channels)] if wanted else []
