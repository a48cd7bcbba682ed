"""Discriminators: images to a logit, with the features of one layer on the way."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.network_choice import FORMER_DISCRIMINATORS
from lightning_gvae.nets.conv import group_norm_of, halved
from lightning_gvae.nets.halving import MOST_CHANNELS, Halving, check_image, doubling_widths, halvings
from lightning_gvae.nets.resnet import ResidualBlock
from lightning_gvae.nets.settings import MOST_DENSE_PIXELS, NetworkSettings

__all__ = ["DISCRIMINATORS", "NORMS", "Discriminator", "build_discriminator", "discriminator_settings"]

DISCRIMINATORS = ("auto", "conv", "resnet", "mlp")
NORMS = ("spectral", "group", "none")
SLOPE = 0.2  # of the leaky ReLU, as in DCGAN
SETTING = "adversary.discriminator"

WIDTH = 32
MOST_WIDTH = 8  # times the first width
HIDDEN = (256,)
MLP_HIDDEN = (256, 256)
FEATURE_SIDE = 7  # D_l is the last layer with a side of at least this: 7x7 or 8x8 as in Larsen's net for 64x64


class Discriminator(nn.Module):
    """Layers of linear maps with leaky ReLUs between them, then one logit.

    ``D_l`` is the output of layer l's linear map, before normalisation and activation (Larsen's choice). There is no
    batch normalisation: an image's logit does not depend on its neighbours, nor on how a batch is spread over ranks.

    Args:
        maps: Convolutions, with residual blocks behind them or not, and linear layers, in their order.
        widths: Their output channels or features.
        norm: ``spectral`` (every map's largest singular value is 1), ``group`` (group normalisation after every map
            but the first) or ``none``.
        recon_layer: l, counted from 1; ``None`` is the last.

    Raises:
        ConfigError: There is no such norm or layer.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """

    def __init__(
        self, maps: Sequence[nn.Module], widths: Sequence[int], norm: str = "spectral", recon_layer: int | None = None
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"`adversary.norm` must be one of {', '.join(NORMS)}, got {norm!r}.")
        layer = len(maps) if recon_layer is None else recon_layer
        if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= layer <= len(maps):
            raise ConfigError(
                f"`adversary.recon_layer` must be the number of one of the discriminator's {len(maps)} layers, "
                "counted from 1, "
                f"got {recon_layer!r}."
            )
        self.recon_layer = layer
        self.maps = nn.ModuleList(_normed(each) if norm == "spectral" else each for each in maps)
        self.afters = nn.ModuleList(
            nn.Sequential(
                group_norm_of(width) if norm == "group" and number > 0 else nn.Identity(),
                nn.LeakyReLU(SLOPE),
            )
            for number, width in enumerate(widths)
        )
        head = nn.Linear(widths[-1], 1)
        self.head = _normed(head) if norm == "spectral" else head

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``D_l``, ``(B, ...)``, and logits ``(B,)`` of images ``(B, C, H, W)`` in [0, 1]."""
        chosen, logits = self(images, both=True)  # a call, which is what torch compiles
        return chosen, logits

    def forward(self, images: Tensor, both: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits ``(B,)``: log odds that an image is real; with ``both`` what :meth:`features` gives."""
        hidden, chosen = 2 * images - 1, images
        for number, (linear, after) in enumerate(zip(self.maps, self.afters, strict=True), start=1):
            hidden = linear(hidden.flatten(1) if isinstance(linear, nn.Linear) else hidden)
            if number == self.recon_layer:
                chosen = hidden
            hidden = after(hidden)
        logits = self.head(hidden).squeeze(1).float()
        return (chosen.float(), logits) if both else logits


def discriminator_settings(network: str | Mapping[str, Any], image_shape: Sequence[int]) -> NetworkSettings:
    """Settings of a discriminator, with a network in the place of ``auto``.

    ``auto`` is ``conv`` for square images of side 28, 32 or 64, for everything above 64x64 pixels, and where a width or
    blocks are set; else ``mlp``.

    Raises:
        ConfigError: A setting is unknown, out of its range, or does not belong to the network.
    """
    settings = NetworkSettings.of(network, SETTING, DISCRIMINATORS)
    if settings.name == "auto":
        channels, height, width = image_shape
        small = height * width <= MOST_DENSE_PIXELS and settings.width is None and settings.blocks is None
        known = height == width and height in FORMER_DISCRIMINATORS and channels <= MOST_CHANNELS
        settings = NetworkSettings("mlp" if small and not known else "conv", **settings.sizes)
    settings.check_sizes(SETTING)
    return settings


def build_discriminator(
    network: str | NetworkSettings, image_shape: Sequence[int], norm: str = "spectral", recon_layer: int | None = None
) -> Discriminator:
    """Discriminator by name.

    Args:
        network: Name, or settings with the name of a family in them: ``conv`` (halving convolutions, then a linear
            layer of 256, for 1 to 4 channels and sides of at least 8), ``resnet`` (the same with residual blocks after
            every halving), ``mlp`` (two layers of 256, any shape), or ``auto``, see :func:`discriminator_settings`.
        image_shape: ``(C, H, W)``.
        norm: See :class:`Discriminator`.
        recon_layer: See :class:`Discriminator`; ``None`` is the last one with features of 7x7 or more, of ``mlp`` the
            first.

    Raises:
        ConfigError: The name is unknown, or the network does not fit the image shape.
    """
    settings = discriminator_settings(network, image_shape) if isinstance(network, str) else network
    if settings.hidden is not None and not settings.hidden:
        raise ConfigError(f"`{SETTING}.hidden` must be at least one width, such as [256], got []")
    if settings.name == "mlp":
        widths = list(MLP_HIDDEN if settings.hidden is None else settings.hidden)
        maps = _linear([math.prod(image_shape), *widths])
        return Discriminator(maps, widths, norm, 1 if recon_layer is None else recon_layer)
    check_image(image_shape, SETTING, settings.name)
    steps = halvings(image_shape, settings.blocks, SETTING, settings.name)
    channels = doubling_widths(settings.width or WIDTH, len(steps), MOST_WIDTH)
    hidden = HIDDEN if settings.hidden is None else tuple(settings.hidden)
    blocks = (settings.layers_per_block or 1) if settings.name == "resnet" else 0
    maps = [
        _halving(fan_in, fan_out, step, blocks, norm)
        for step, (fan_in, fan_out) in zip(steps, itertools.pairwise((image_shape[0], *channels)), strict=True)
    ]
    flat = channels[-1] * math.prod(steps[-1].after)
    maps += _linear([flat, *hidden])
    large = sum(max(step.after) >= FEATURE_SIDE for step in steps)
    return Discriminator(maps, [*channels, *hidden], norm, max(large, 1) if recon_layer is None else recon_layer)


def _halving(fan_in: int, fan_out: int, step: Halving, blocks: int, norm: str) -> nn.Module:
    first = halved(fan_in, fan_out, step)
    if not blocks:
        return first
    return nn.Sequential(
        first, *(ResidualBlock(fan_out, norms=norm == "group", activation=nn.LeakyReLU(SLOPE)) for _ in range(blocks))
    )


def _linear(sizes: Sequence[int]) -> list[nn.Module]:
    return [nn.Linear(fan_in, fan_out) for fan_in, fan_out in itertools.pairwise(sizes)]


def _normed(network: nn.Module) -> nn.Module:
    """The network with every largest singular value held at 1."""
    for part in list(network.modules()):
        if isinstance(part, nn.Linear | nn.Conv2d):
            spectral_norm(part)
    return network
