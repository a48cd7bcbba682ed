"""Sizes of feature maps in networks that halve the sides of an image, whatever they are."""

from collections.abc import Sequence
from typing import NamedTuple

from lightning_gvae.errors import ConfigError

__all__ = ["LEAST_SIDE", "MOST_CHANNELS", "Halving", "check_image", "conv_widths", "doubling_widths", "halvings"]

LEAST_SIDE = 8
MOST_CHANNELS = 4
SMALL = 8  # a side below it is not halved by default
SMALLEST = 2  # a side below it is never halved


class Halving(NamedTuple):
    """Sides before and after one convolution of stride 2; a side that is small already stays as it is.

    Attributes:
        before: Height and width, pixels.
        after: The same, each either half of it, rounded down, or equal.
    """

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        """4 along a side that is halved, else 3; padding 1 fits both."""
        return self._each(4, 3)

    @property
    def stride(self) -> tuple[int, int]:
        """2 along a side that is halved, else 1."""
        return self._each(2, 1)

    @property
    def output_padding(self) -> tuple[int, int]:
        """Rows and columns by which the transposed convolution would fall short of ``before``: 1 for an odd side."""
        height, width = (
            before % 2 if after < before else 0 for before, after in zip(self.before, self.after, strict=True)
        )
        return height, width

    def _each(self, halved: int, same: int) -> tuple[int, int]:
        height, width = (
            halved if after < before else same for before, after in zip(self.before, self.after, strict=True)
        )
        return height, width


def halvings(image_shape: Sequence[int], blocks: int | None, setting: str, name: str) -> list[Halving]:
    """Halvings of an image, from its sides to those of the smallest feature map.

    By default every side is halved until it is 4 to 7 pixels. More blocks go on down to one pixel, fewer stop earlier.

    Args:
        image_shape: ``(C, H, W)``.
        blocks: Number of halvings; None for the default.
        setting: Full name of the network's setting, for messages.
        name: Name of the network, for messages.

    Raises:
        ConfigError: The blocks are too many for the image, or it is too small for the default.

    >>> [each.after for each in halvings((3, 100, 60), None, "network", "conv")]
    [(50, 30), (25, 15), (12, 7), (6, 7)]
    """
    if blocks is None:
        check_image(image_shape, setting, name)
    _, height, width = image_shape
    found: list[Halving] = []
    for least in (SMALL, SMALLEST):
        while max(height, width) >= least:
            after = _halved(height, least), _halved(width, least)
            found.append(Halving((height, width), after))
            height, width = after
        if least == SMALL:
            usual = len(found)
    if blocks is not None and blocks > len(found):
        raise ConfigError(
            f"`{setting}.blocks` must be 1 to {len(found)} for images of {image_shape[1]}x{image_shape[2]} pixels, got "
            f"{blocks}: each block halves the sides, and after {len(found)} of them {height}x{width} are left."
        )
    return found[: usual if blocks is None else blocks]


def check_image(image_shape: Sequence[int], setting: str, name: str) -> None:
    """Refuse images that convolutional networks are not made for.

    Args:
        image_shape: ``(C, H, W)``.
        setting: Full name of the network's setting, for messages.
        name: Name of the network, for messages.

    Raises:
        ConfigError: A side is below 8, or there are more than 4 channels.
    """
    channels, height, width = image_shape
    if min(height, width) < LEAST_SIDE or channels > MOST_CHANNELS:
        raise ConfigError(
            f"`{setting}={name}` is for images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels with 1 to {MOST_CHANNELS} "
            f"channels, got {height}x{width} with {channels}; take {setting}=mlp or a network of your own."
        )


def _halved(side: int, least: int) -> int:
    return side // 2 if side >= least else side


def conv_widths(width: int, blocks: int) -> tuple[int, ...]:
    """Channels after each halving, twice as many with every second one.

    >>> conv_widths(32, 2), conv_widths(32, 3), conv_widths(32, 4), conv_widths(32, 5)
    ((32, 64), (32, 64, 64), (32, 32, 64, 64), (32, 32, 64, 64, 128))
    """
    # Shallow networks double a halving earlier: they end at a size where deep ones have doubled already.
    early = 1 if blocks < 4 else 0
    return tuple(width * 2 ** ((block + early) // 2) for block in range(blocks))


def doubling_widths(width: int, blocks: int, most: int) -> tuple[int, ...]:
    """Channels after each halving, twice as many with every one up to ``most`` times the first.

    >>> doubling_widths(32, 4, 8), doubling_widths(32, 4, 4)
    ((32, 64, 128, 256), (32, 64, 128, 128))
    """
    return tuple(width * min(2**block, most) for block in range(blocks))
