"""Encoder and decoder by name."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.control64 import Control64Decoder, Control64Encoder
from lightning_gvae.nets.conv import ConvDecoder, ConvEncoder
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder

__all__ = ["NETWORKS", "NetworkChoice", "Networks", "build_network", "own_networks", "resolve_network"]

NETWORKS = ("auto", "auto_norm", "mlp", "conv", "conv_norm", "burgess", "control64")

# Halving layers by image side; the linear layer of 256 follows.
CONV_CHANNELS: dict[int, tuple[int, ...]] = {
    28: (32, 64),
    32: (32, 64, 64),
    64: (32, 32, 64, 64),
    128: (32, 32, 64, 64, 128),
}
BURGESS_CHANNELS: tuple[int, ...] = (32, 32, 32, 32)


class Networks(NamedTuple):
    """Own networks instead of named ones.

    Args:
        encoder: ``(B, C, H, W) -> (B, 2Z)``.
        decoder: ``(B, Z) -> (B, C, H, W)``, raw outputs.
    """

    encoder: nn.Module
    decoder: nn.Module


NetworkChoice = str | tuple[nn.Module, nn.Module] | Mapping[str, nn.Module]


def own_networks(network: tuple[nn.Module, nn.Module] | Mapping[str, nn.Module]) -> Networks:
    """Encoder and decoder that are given as modules, a pair or a mapping with these names.

    Raises:
        ConfigError: It is neither.
    """
    pair = Networks._fields
    given = dict(network) if isinstance(network, Mapping) else dict(zip(pair, network or (), strict=False))
    if (
        len(network or ()) != 2
        or given.keys() != set(pair)
        or not all(isinstance(part, nn.Module) for part in given.values())
    ):
        raise ConfigError(
            f"`network` must be a name ({', '.join(NETWORKS)}), or both an encoder and a decoder, got {network!r:.100}."
        )
    return Networks(**given)


def resolve_network(name: str, image_shape: Sequence[int]) -> str:
    """Network that ``auto`` stands for: ``conv`` for square images of side 28, 32, 64 or 128, else ``mlp``.

    ``auto_norm`` likewise stands for ``conv_norm`` or ``mlp``.

    Raises:
        ConfigError: The name is unknown, or the image shape is not ``(C, H, W)`` with positive sizes.
    """
    if name not in NETWORKS:
        raise ConfigError(f"`network` must be one of {', '.join(NETWORKS)}, got {name!r}.")
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ConfigError(f"`image_shape` must be (channels, height, width), got {tuple(image_shape)}.")
    if not name.startswith("auto"):
        return name
    _, height, width = image_shape
    return name.replace("auto", "conv") if height == width and height in CONV_CHANNELS else "mlp"


def build_network(name: str, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder.

    Args:
        name: ``mlp`` (one hidden layer of 400), ``conv`` (halving convolutions chosen by the image side),
            ``conv_norm`` (for adversarial training: with group normalisation, its decoder without hidden layers),
            ``burgess`` (64x64, 32 channels throughout, two linear layers of 256, He's uniform initialisation as in
            the runs that are published for it), ``control64`` (64x64, fully convolutional), or ``auto`` or
            ``auto_norm``, see :func:`resolve_network`.
        image_shape: ``(C, H, W)``.
        latent_dim: Z, at least 1.

    Returns:
        Encoder ``(B, C, H, W) -> (B, 2Z)`` and decoder ``(B, Z) -> (B, C, H, W)``.

    Raises:
        ConfigError: Unknown name, or the network does not fit the image shape.
    """
    if latent_dim < 1:
        raise ConfigError(f"`latent_dim` must be at least 1, got {latent_dim}.")
    name = resolve_network(name, image_shape)
    if name == "mlp":
        return MLPEncoder(image_shape, latent_dim), MLPDecoder(image_shape, latent_dim)
    if name == "control64":
        return Control64Encoder(image_shape, latent_dim), Control64Decoder(image_shape, latent_dim)
    hidden: tuple[int, ...]
    if name == "burgess":
        channels, hidden = BURGESS_CHANNELS, (256, 256)
    else:
        side = image_shape[1]
        if side != image_shape[2] or side not in CONV_CHANNELS:
            sides = ", ".join(str(known) for known in CONV_CHANNELS)
            raise ConfigError(
                f"`network='{name}'` knows square images of side {sides}, got {side}x{image_shape[2]}; use network=mlp."
            )
        channels, hidden = CONV_CHANNELS[side], (256,)
    if name == "conv_norm":
        # Latents straight to feature maps: behind a hidden layer a generator soon makes one image of all of them.
        encoder = ConvEncoder(image_shape, latent_dim, channels, hidden, group_norm=True)
        return encoder, ConvDecoder(image_shape, latent_dim, channels, (), group_norm=True)
    encoder = ConvEncoder(image_shape, latent_dim, channels, hidden)
    decoder = ConvDecoder(image_shape, latent_dim, channels, hidden)
    if name == "burgess":
        encoder.apply(he_uniform)
        decoder.apply(he_uniform)
    return encoder, decoder


def he_uniform(module: nn.Module) -> None:
    """Weights of a linear or convolutional layer uniform with variance ``2 / fan_in``; biases stay as they are.

    PyTorch's own start has a sixth of this variance: on dSprites the first 1,500 steps then change next to nothing.

    References:
        He et al., Delving Deep into Rectifiers, 2015, eq. 10.
    """
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
