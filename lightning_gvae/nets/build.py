"""Encoder and decoder by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.network_choice import AUTO, has_own_networks, plain_choice
from lightning_gvae.nets.control64 import Control64Decoder, Control64Encoder
from lightning_gvae.nets.conv import ConvDecoder, ConvEncoder
from lightning_gvae.nets.halving import LEAST_SIDE, MOST_CHANNELS, check_image, conv_widths, halvings
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder
from lightning_gvae.nets.resnet import ResnetDecoder, ResnetEncoder
from lightning_gvae.nets.settings import MOST_DENSE_PIXELS, NetworkSettings

__all__ = [
    "CUSTOM",
    "NETWORKS",
    "ChosenNetworks",
    "NetworkChoice",
    "Networks",
    "build_network",
    "choose_networks",
    "kept_choice",
    "names_a_network",
    "own_networks",
    "resolve_network",
    "resolved_settings",
]

SETTING = "network"
CUSTOM = "custom"  # name of networks that the user made

# Sides of square images for which `auto` has been convolutional from the first release on; other small ones are not.
CONV_SIDES = (28, 32, 64, 128)
WIDTH = 32
MLP_HIDDEN = (400,)
CONV_HIDDEN = (256,)
BURGESS_CHANNELS = (32, 32, 32, 32)
BURGESS_HIDDEN = (256, 256)


class Networks(NamedTuple):
    """Own networks instead of named ones.

    Args:
        encoder: ``(B, C, H, W) -> (B, 2Z)``.
        decoder: ``(B, Z) -> (B, C, H, W)``, raw outputs.
    """

    encoder: nn.Module
    decoder: nn.Module


class ChosenNetworks(NamedTuple):
    """Networks, and what checkpoints call them.

    Attributes:
        label: Name of the family with the sizes that were given, or ``custom``.
        encoder: ``(B, C, H, W) -> (B, 2Z)``.
        decoder: ``(B, Z) -> (B, C, H, W)``, raw outputs.
    """

    label: str
    encoder: nn.Module
    decoder: nn.Module


NetworkChoice = str | tuple[nn.Module, nn.Module] | Mapping[str, Any]


def choose_networks(network: NetworkChoice, image_shape: Sequence[int], latent_dim: int) -> ChosenNetworks:
    """Encoder and decoder of a model's setting ``network``.

    Args:
        network: Name of a family; or its settings, see :class:`~lightning_gvae.nets.settings.NetworkSettings`; or own
            networks, see :func:`own_networks`.
        image_shape: ``(C, H, W)``.
        latent_dim: Z, at least 1.

    Raises:
        ConfigError: The choice does not exist, or does not fit the image shape.
    """
    if not names_a_network(network):
        return ChosenNetworks(CUSTOM, *own_networks(network))
    settings = resolved_settings(network, image_shape)
    return ChosenNetworks(settings.label(), *build_network(settings, image_shape, latent_dim))


def names_a_network(network: object) -> TypeGuard[str | Mapping[str, Any]]:
    """Whether a choice is a name, or a mapping with sizes rather than with own networks."""
    return isinstance(network, str) or (
        isinstance(network, Mapping) and len(network) > 0 and not has_own_networks(network)
    )


def kept_choice(network: object, encoder: nn.Module) -> Any:
    """Choice as a checkpoint keeps it: in its short form, and with the architecture in the place of a folder."""
    if (architecture := getattr(encoder, "architecture", None)) is not None:
        return {"name": "autoencoder_kl", "architecture": architecture}
    return plain_choice(network)


def own_networks(network: object) -> Networks:
    """Encoder and decoder that are given as modules, a pair or a mapping with these names.

    Raises:
        ConfigError: It is neither, or sizes of a named network stand beside them.
    """
    names = Networks._fields
    if isinstance(network, Mapping):  # a configuration has the name of the default beside them
        given = {name: part for name, part in network.items() if part is not None and name != "name"}
    else:
        parts = network if isinstance(network, Sequence) and len(network) == len(names) else ()
        given = dict(zip(names, parts, strict=False))
    if given.keys() != set(names) or not all(isinstance(part, nn.Module) for part in given.values()):
        raise ConfigError(
            f"`network` must be a name ({', '.join(NETWORKS)}), or both an encoder and a decoder, got {network!r:.100}."
        )
    return Networks(**given)


def resolve_network(name: str, image_shape: Sequence[int]) -> str:
    """Network that ``auto`` stands for, see :func:`resolved_settings`.

    Raises:
        ConfigError: The name is unknown, or the image shape is not ``(C, H, W)`` with positive sizes.
    """
    return resolved_settings(name, image_shape).name


def resolved_settings(network: str | Mapping[str, Any], image_shape: Sequence[int]) -> NetworkSettings:
    """Settings of a named network, with a network in the place of ``auto`` and ``auto_norm``.

    ``auto`` is ``conv`` for square images of side 28, 32, 64 or 128, for everything above 64x64 pixels, and where a
    width or blocks are set; else ``mlp``. ``auto_norm`` likewise stands for ``conv_norm`` or ``mlp``.

    Raises:
        ConfigError: A setting is unknown or out of its range, or the image shape is not ``(C, H, W)`` with positive
            sizes.
    """
    settings = NetworkSettings.of(network, SETTING, NETWORKS)
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ConfigError(f"`image_shape` must be (channels, height, width), got {tuple(image_shape)}.")
    if settings.name in AUTO:
        name = settings.name.replace("auto", "conv") if _is_convolutional(settings, image_shape) else "mlp"
        settings = NetworkSettings(name, **settings.sizes)
    settings.check_sizes(SETTING)
    return settings


def _is_convolutional(settings: NetworkSettings, image_shape: Sequence[int]) -> bool:
    channels, height, width = image_shape
    if height * width > MOST_DENSE_PIXELS or settings.width is not None or settings.blocks is not None:
        return True
    return height == width and height in CONV_SIDES and channels <= MOST_CHANNELS


def build_network(
    network: str | NetworkSettings, image_shape: Sequence[int], latent_dim: int
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder.

    Args:
        network: Name, or settings with the name of a family in them: ``mlp`` (one hidden layer of 400), ``conv``
            (halving convolutions, for 1 to 4 channels and sides of at least 8), ``conv_norm`` (for adversarial
            training: with group normalisation, its decoder without hidden layers), ``resnet`` (residual blocks with
            group normalisation after every halving), ``burgess`` (64x64, 32 channels throughout, two linear layers of
            256, He's uniform initialisation as in the runs that are published for it), ``control64`` (64x64, fully
            convolutional), ``autoencoder_kl`` (of latent diffusion models, see
            :mod:`~lightning_gvae.nets.autoencoder_kl`), or ``auto`` or ``auto_norm``, see :func:`resolved_settings`.
        image_shape: ``(C, H, W)``.
        latent_dim: Z, at least 1.

    Returns:
        Encoder ``(B, C, H, W) -> (B, 2Z)`` and decoder ``(B, Z) -> (B, C, H, W)``.

    Raises:
        ConfigError: Unknown name, or the network does not fit the image shape.
    """
    if latent_dim < 1:
        raise ConfigError(f"`latent_dim` must be at least 1, got {latent_dim}.")
    settings = resolved_settings(network, image_shape) if isinstance(network, str) else network
    return BUILDERS[settings.name](settings, image_shape, latent_dim)


def _mlp(settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    hidden = MLP_HIDDEN if settings.hidden is None else tuple(settings.hidden)
    return MLPEncoder(image_shape, latent_dim, hidden), MLPDecoder(image_shape, latent_dim, hidden[::-1])


def _conv(settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    check_image(image_shape, SETTING, settings.name)
    depth = len(halvings(image_shape, settings.blocks, SETTING, settings.name))
    channels = conv_widths(settings.width or WIDTH, depth)
    hidden = CONV_HIDDEN if settings.hidden is None else tuple(settings.hidden)
    normed = settings.name == "conv_norm"
    encoder = ConvEncoder(image_shape, latent_dim, channels, hidden, group_norm=normed)
    # Latents straight to feature maps: behind a hidden layer a generator soon makes one image of all of them.
    return encoder, ConvDecoder(image_shape, latent_dim, channels, () if normed else hidden, group_norm=normed)


def _resnet(settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    check_image(image_shape, SETTING, settings.name)
    sizes = (settings.width or WIDTH, settings.blocks, settings.layers_per_block or 1, tuple(settings.hidden or ()))
    return ResnetEncoder(image_shape, latent_dim, *sizes), ResnetDecoder(image_shape, latent_dim, *sizes)


def _burgess(settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    factor = 2 ** len(BURGESS_CHANNELS)
    _, height, width = image_shape
    if height % factor or width % factor:
        raise ConfigError(
            f"`network={settings.name}` needs sides divisible by {factor} for its {len(BURGESS_CHANNELS)} halving "
            f"layers, got {height}x{width}; take network=conv, which fits any sides from {LEAST_SIDE} on."
        )
    encoder = ConvEncoder(image_shape, latent_dim, BURGESS_CHANNELS, BURGESS_HIDDEN)
    decoder = ConvDecoder(image_shape, latent_dim, BURGESS_CHANNELS, BURGESS_HIDDEN)
    encoder.apply(he_uniform)
    decoder.apply(he_uniform)
    return encoder, decoder


def _control64(settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int) -> tuple[nn.Module, nn.Module]:
    return Control64Encoder(image_shape, latent_dim), Control64Decoder(image_shape, latent_dim)


def _autoencoder_kl(
    settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int
) -> tuple[nn.Module, nn.Module]:
    from lightning_gvae.nets.autoencoder_kl import build_autoencoder_kl

    return build_autoencoder_kl(settings, image_shape, latent_dim)


Builder = Callable[[NetworkSettings, Sequence[int], int], tuple[nn.Module, nn.Module]]
BUILDERS: dict[str, Builder] = {
    "mlp": _mlp,
    "conv": _conv,
    "conv_norm": _conv,
    "resnet": _resnet,
    "burgess": _burgess,
    "control64": _control64,
    "autoencoder_kl": _autoencoder_kl,
}
NETWORKS = (*AUTO, *BUILDERS)


def he_uniform(module: nn.Module) -> None:
    """Weights of a linear or convolutional layer uniform with variance ``2 / fan_in``; biases stay as they are.

    PyTorch's own start has a sixth of this variance: on dSprites the first 1,500 steps then change next to nothing.

    References:
        He et al., Delving Deep into Rectifiers, 2015, eq. 10.
    """
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
