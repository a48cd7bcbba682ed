"""The layers of a genome's autoencoder for an image shape, and what they cost, without building them.

Sides follow the released code of MONCAE: an active block pools 2x2 ("same", so odd sides round up) while the side is
at least 3; its decoder up-samples as early as possible and, where doubling would miss the image's side, first shrinks
by two with an unpadded convolution (16 to 14, then 28). That rule is the reference's own, tested with every pattern of
pooling at sides 24, 28, 32 and 64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.genome import Genome

__all__ = ["LOC_CAP", "Conv", "Decoder", "Plan", "costs", "level_of_compression", "plan"]

Decoder = Literal["reference", "mirror"]
LOC_CAP = 5.0


@dataclass(frozen=True)
class Conv:
    """A convolution of stride 1 and what follows it.

    Args:
        channels_in: Channels of its input.
        channels_out: Channels of its output.
        kernel: Side of the kernel.
        side: Side of its input.
        padded: Whether the side stays; else it shrinks by ``kernel - 1``.
        batch_norm: Batch normalisation after it.
        activation: Name of the activation after that; None for none.
        resize: Side after 2x2 pooling or nearest up-sampling at the end; None for neither.
    """

    channels_in: int
    channels_out: int
    kernel: int
    side: int
    padded: bool = True
    batch_norm: bool = False
    activation: str | None = None
    resize: int | None = None

    @property
    def side_out(self) -> int:
        """Side of what leaves."""
        return self.resize or self.conv_side

    @property
    def conv_side(self) -> int:
        """Side of the convolution's own output."""
        return self.side if self.padded else self.side - self.kernel + 1

    @property
    def macs(self) -> int:
        """Multiplications and additions of the convolution for one image."""
        return self.conv_side**2 * self.kernel**2 * self.channels_in * self.channels_out

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        own = (self.kernel**2 * self.channels_in + 1) * self.channels_out
        return own + 2 * self.channels_out * self.batch_norm


@dataclass(frozen=True)
class Plan:
    """Layers of an autoencoder.

    Args:
        encoder: From the image to the code.
        decoder: From the code to the image.
        code_shape: ``(C, H, W)`` of the code.
        image_shape: ``(C, H, W)`` of the image.
        variational: Whether two 1x1 convolutions make mean and log-variance of the code.
    """

    encoder: tuple[Conv, ...]
    decoder: tuple[Conv, ...]
    code_shape: tuple[int, int, int]
    image_shape: tuple[int, int, int]
    variational: bool = False

    @property
    def head(self) -> Conv | None:
        """The 1x1 convolution that makes mean and log-variance."""
        channels, side, _ = self.code_shape
        return Conv(channels, 2 * channels, 1, side) if self.variational else None

    @property
    def layers(self) -> tuple[Conv, ...]:
        """All convolutions."""
        return (*self.encoder, *((self.head,) if self.head else ()), *self.decoder)


@lru_cache(maxsize=4096)
def plan(
    genome: Genome, image_shape: tuple[int, int, int], decoder: Decoder = "reference", variational: bool = False
) -> Plan:
    """Layers of the genome's autoencoder.

    Args:
        genome: The genes.
        image_shape: ``(C, H, W)``, square.
        decoder: ``reference`` up-samples as early as possible, as the released code does; ``mirror`` where the encoder
            pools.
        variational: Whether the code is a Gaussian's mean.

    Raises:
        ConfigError: The image is not square, or the decoder is unknown or cannot reach the side of the image.
    """
    if decoder not in get_args(Decoder):
        raise ConfigError(f"`decoder` must be one of {', '.join(get_args(Decoder))}, got {decoder!r}")
    if len(image_shape) != 3 or min(image_shape) < 1 or image_shape[1] != image_shape[2]:
        raise ConfigError(f"`image_shape` must be (channels, side, side) of square images, got {image_shape}")
    channels, side, _ = image_shape
    encoder: list[Conv] = []
    for block in genome.phenotype:
        pooled = math.ceil(side / 2) if block.pool and side >= 3 else None
        encoder.append(
            Conv(channels, block.filters, block.kernel, side, True, bool(block.batch_norm), block.activation, pooled)
        )
        channels, side = block.filters, encoder[-1].side_out
    build = _reference_decoder if decoder == "reference" else _mirror_decoder
    layers = build(genome, encoder, image_shape)
    if layers[-1].side_out != image_shape[1]:
        raise ConfigError(
            f"decoder={decoder!r} ends at side {layers[-1].side_out} and the images have {image_shape[1]}; use "
            "decoder='mirror', or images of side 24, 28, 32 or 64"
        )
    return Plan(tuple(encoder), tuple(layers), (channels, side, side), image_shape, variational)


def _reference_decoder(genome: Genome, encoder: Sequence[Conv], image_shape: tuple[int, int, int]) -> list[Conv]:
    target, (channels, side) = image_shape[1], (encoder[-1].channels_out, encoder[-1].side_out)
    # Sides and channels after every block, inactive ones too; sides before they are rounded up, as the reference does.
    sides: list[float] = []
    filters: list[int] = []
    built = iter(encoder)
    for block in genome.blocks:
        if block.active:
            layer = next(built)
            sides.append(layer.side / 2 if layer.resize else layer.side)
            filters.append(layer.channels_out)
        else:
            sides.append(math.ceil(sides[-1]))
            filters.append(filters[-1])
    layers = [Conv(channels, channels, 3, side)]
    for block, width in zip(reversed(genome.blocks), reversed(filters), strict=True):
        shrunk = 2 * (side - 2)
        if side not in sides and (shrunk in sides or (2 * side not in sides and shrunk == target)):
            layers.append(Conv(channels, width, 3, side, padded=False))
            channels, side = width, side - 2
        if block.active:
            up = 2 * side if side < target else None
            layers.append(Conv(channels, width, block.kernel, side, activation=block.activation, resize=up))
            channels, side = width, layers[-1].side_out
    return [*layers, _last(genome, channels, side, image_shape)]


def _mirror_decoder(genome: Genome, encoder: Sequence[Conv], image_shape: tuple[int, int, int]) -> list[Conv]:
    channels, side = encoder[-1].channels_out, encoder[-1].side_out
    layers = [Conv(channels, channels, 3, side)]
    for block, layer in zip(reversed(genome.phenotype), reversed(encoder), strict=True):
        up = layer.side if layer.resize else None
        layers.append(Conv(channels, block.filters, block.kernel, side, activation=block.activation, resize=up))
        channels, side = block.filters, layers[-1].side_out
    return [*layers, _last(genome, channels, side, image_shape)]


def _last(genome: Genome, channels: int, side: int, image_shape: tuple[int, int, int]) -> Conv:
    first = genome.phenotype[0]
    activation = first.activation if genome.rules == "reference" else None
    return Conv(channels, image_shape[0], first.kernel, side, activation=activation)


def level_of_compression(genome: Genome, image_shape: tuple[int, int, int]) -> float:
    """Decadic logarithm of the numbers in the code, at most 5; less is stronger compression.

    >>> from lightning_gvae.evolution.architecture.genome import Block
    >>> blocks = tuple(Block(filters=4, pool=1) for _ in range(6))
    >>> round(level_of_compression(Genome(blocks), (1, 28, 28)), 3)
    1.204
    """
    return min(math.log10(math.prod(plan(genome, image_shape, "mirror").code_shape)), LOC_CAP)


def costs(
    genome: Genome, image_shape: tuple[int, int, int], decoder: Decoder = "reference", variational: bool = False
) -> dict[str, float]:
    """Costs that are known before training: ``loc``, ``macs`` of one image forward, ``parameters``."""
    layers = plan(genome, image_shape, decoder, variational).layers
    return {
        "loc": level_of_compression(genome, image_shape),
        "macs": float(sum(layer.macs for layer in layers)),
        "parameters": float(sum(layer.parameters for layer in layers)),
    }
