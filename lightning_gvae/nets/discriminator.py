"""Discriminators: images to a logit, with the features of one layer on the way."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_gvae.errors import ConfigError

__all__ = ["NORMS", "Discriminator", "build_discriminator"]

NORMS = ("spectral", "group", "none")
SLOPE = 0.2  # of the leaky ReLU, as in DCGAN

# Halving convolutions by image side, and the one whose output is D_l: 7x7 or 8x8 as in Larsen's net for 64x64.
CONVOLUTIONS: dict[int, tuple[tuple[int, ...], int]] = {
    28: ((32, 64), 2),
    32: ((32, 64, 128), 2),
    64: ((32, 64, 128, 256), 3),
}
HIDDEN = 256


class Discriminator(nn.Module):
    """Layers of linear maps with leaky ReLUs between them, then one logit.

    ``D_l`` is the output of layer l's linear map, before normalisation and activation (Larsen's choice). There is no
    batch normalisation: an image's logit does not depend on its neighbours, nor on how a batch is spread over ranks.

    Args:
        maps: Convolutions and linear layers, in their order.
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
        wrap = spectral_norm if norm == "spectral" else _same
        self.maps = nn.ModuleList(wrap(linear) for linear in maps)
        self.afters = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(math.gcd(8, width), width) if norm == "group" and number > 0 else nn.Identity(),
                nn.LeakyReLU(SLOPE),
            )
            for number, width in enumerate(widths)
        )
        self.head = wrap(nn.Linear(widths[-1], 1))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``D_l``, ``(B, ...)``, and logits ``(B,)`` of images ``(B, C, H, W)`` in [0, 1]."""
        hidden, chosen = 2 * images - 1, images
        for number, (linear, after) in enumerate(zip(self.maps, self.afters, strict=True), start=1):
            hidden = linear(hidden.flatten(1) if isinstance(linear, nn.Linear) else hidden)
            if number == self.recon_layer:
                chosen = hidden
            hidden = after(hidden)
        return chosen.float(), self.head(hidden).squeeze(1).float()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B,)``: log odds that an image is real."""
        return self.features(images)[1]


def build_discriminator(
    name: str, image_shape: Sequence[int], norm: str = "spectral", recon_layer: int | None = None
) -> Discriminator:
    """Discriminator by name.

    Args:
        name: ``conv`` (halving convolutions, then a linear layer of 256; square images of side 28, 32 or 64), ``mlp``
            (two layers of 256, any shape), or ``auto``: ``conv`` where it fits, else ``mlp``.
        image_shape: ``(C, H, W)``.
        norm: See :class:`Discriminator`.
        recon_layer: See :class:`Discriminator`; ``None`` is the layer with 7x7 or 8x8 features, of ``mlp`` the first.

    Raises:
        ConfigError: The name is unknown, or the network does not fit the image shape.
    """
    if name not in ("auto", "conv", "mlp"):
        raise ConfigError(f"`adversary.discriminator` must be one of auto, conv, mlp, got {name!r}.")
    channels, height, width = image_shape
    fits = height == width and height in CONVOLUTIONS
    if name == "conv" and not fits:
        sides = ", ".join(str(side) for side in CONVOLUTIONS)
        raise ConfigError(
            f"`adversary.discriminator='conv'` knows square images of side {sides}, got {height}x{width}; use mlp."
        )
    if name == "mlp" or not fits:
        maps: list[nn.Module] = [nn.Linear(math.prod(image_shape), HIDDEN), nn.Linear(HIDDEN, HIDDEN)]
        return Discriminator(maps, [HIDDEN, HIDDEN], norm, 1 if recon_layer is None else recon_layer)
    widths, layer = CONVOLUTIONS[height]
    maps = [
        nn.Conv2d(fan_in, fan_out, kernel_size=4, stride=2, padding=1)
        for fan_in, fan_out in itertools.pairwise((channels, *widths))
    ]
    flat = widths[-1] * (height // 2 ** len(widths)) ** 2
    maps.append(nn.Linear(flat, HIDDEN))
    return Discriminator(maps, [*widths, HIDDEN], norm, layer if recon_layer is None else recon_layer)


def _same(module: nn.Module) -> nn.Module:
    return module
