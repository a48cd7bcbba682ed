"""Encoder and decoder of a latent diffusion model's VAE, to and from the format of diffusers (an extra)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.settings import NetworkSettings

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

__all__ = ["KLDecoder", "KLEncoder", "build_autoencoder_kl", "save_autoencoder_kl"]

# As published for 256x256 images: channels of the levels are 128, 256, 512, 512.
WIDTH, BLOCKS, LAYERS, MOST_WIDTH, GROUPS = 128, 3, 2, 4, 32
LOG_VAR_BOUNDS = (-30.0, 20.0)  # of diffusers' posterior


class KLEncoder(nn.Module):
    """Encoder and quantising convolution; latents are a feature map, laid out channel by channel.

    Args:
        source: Network in diffusers' format.
    """

    def __init__(self, source: "AutoencoderKL") -> None:
        super().__init__()
        self.encoder, self.quant_conv = source.encoder, source.quant_conv or nn.Identity()
        self.architecture = plain_architecture(source)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, 2Z)``: means, then log-variances."""
        mean, log_var = self.quant_conv(self.encoder(2 * images - 1)).flatten(1).chunk(2, dim=1)
        return torch.cat([mean, log_var.clamp(*LOG_VAR_BOUNDS)], dim=1)


class KLDecoder(nn.Module):
    """Mirror image of :class:`KLEncoder`; its outputs are pixels, not logits.

    Args:
        source: Network in diffusers' format.
        code_shape: ``(c, h, w)``, shape of the latents.
    """

    gives_pixels = True

    def __init__(self, source: "AutoencoderKL", code_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = source.post_quant_conv or nn.Identity(), source.decoder
        self.code_shape = code_shape

    def forward(self, latents: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, C, H, W)``, about [0, 1]."""
        return (self.decoder(self.post_quant_conv(latents.unflatten(1, self.code_shape))) + 1) / 2


def build_autoencoder_kl(
    settings: NetworkSettings, image_shape: Sequence[int], latent_dim: int
) -> tuple[KLEncoder, KLDecoder]:
    """Encoder and decoder of a diffusers ``AutoencoderKL``, new or pretrained.

    Args:
        settings: ``pretrained`` is a folder in diffusers' format, or ``architecture`` the configuration in it; else
            ``width``, ``blocks`` and ``layers_per_block`` say how large a new one is.
        image_shape: ``(C, H, W)``; sides must be divisible by 2 to the number of blocks.
        latent_dim: Z, channels of the code times its height and width.

    Raises:
        ConfigError: diffusers is not installed, the folder is not in its format, or the sizes do not fit together.
    """
    kind = _diffusers()
    if settings.pretrained is not None:
        source = _pretrained(kind, settings.pretrained)
    else:
        code = _code_shape(image_shape, settings.blocks or BLOCKS)
        architecture = settings.architecture or _architecture(settings, image_shape, _channels(latent_dim, code))
        try:
            source = kind.from_config(dict(architecture))
        except (TypeError, ValueError, LookupError) as error:
            raise ConfigError(f"`network.architecture` is not of a diffusers AutoencoderKL: {error}") from error
    config = source.config
    if (config.in_channels, config.out_channels) != (image_shape[0], image_shape[0]):
        raise ConfigError(
            f"`network=autoencoder_kl` here is for images of {config.in_channels} channels, the data has "
            f"{image_shape[0]}; set data.channels, or take another network."
        )
    height, width = _code_shape(image_shape, len(config.block_out_channels) - 1)
    channels = config.latent_channels
    if latent_dim != channels * height * width:
        raise ConfigError(
            f"`latent_dim` must be {channels * height * width} for this network, {channels} channels of "
            f"{height}x{width}, got {latent_dim}; set latent_dim={channels * height * width}."
        )
    return KLEncoder(source), KLDecoder(source, (channels, height, width))


def save_autoencoder_kl(encoder: object, decoder: object, folder: str | Path, scaling_factor: float = 1.0) -> Path:
    """Write networks as diffusers reads them: ``AutoencoderKL.from_pretrained(folder)``.

    Args:
        encoder: A model's encoder.
        decoder: The same model's decoder.
        folder: Made if it is missing.
        scaling_factor: What a diffusion model multiplies latents by: 1 / their standard deviation over the data.

    Raises:
        ConfigError: They are other networks, or diffusers is not installed.
    """
    if not isinstance(encoder, KLEncoder) or not isinstance(decoder, KLDecoder):
        raise ConfigError(
            f"only a model with `network=autoencoder_kl` can be written in diffusers' format, got "
            f"{type(encoder).__name__} and {type(decoder).__name__}."
        )
    source = _diffusers().from_config({**encoder.architecture, "scaling_factor": scaling_factor})
    source.load_state_dict({**encoder.state_dict(), **decoder.state_dict()})
    source.save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def plain_architecture(source: "AutoencoderKL") -> dict[str, Any]:
    """Configuration of a network, plain containers, without what only its file says."""
    found = {name: value for name, value in source.config.items() if not name.startswith("_")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _diffusers() -> "type[AutoencoderKL]":
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ConfigError(
            "`network=autoencoder_kl` needs the extra diffusers: pip install 'lightning-gvae[diffusers]'."
        ) from error
    return AutoencoderKL


def _pretrained(kind: "type[AutoencoderKL]", folder: str) -> "AutoencoderKL":
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"`network.pretrained` must be a folder in diffusers' format, with config.json and weights in safetensors, "
            f"got {folder}; download one beforehand, nothing is fetched here."
        )
    try:
        found: AutoencoderKL = kind.from_pretrained(
            path, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=torch.float32
        )
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ConfigError(
            f"`network.pretrained` cannot be read from {folder}: {' '.join(str(error).split())}"
        ) from error
    return found.train()


def _code_shape(image_shape: Sequence[int], blocks: int) -> tuple[int, int]:
    _, height, width = image_shape
    factor = 2**blocks
    if height % factor or width % factor:
        raise ConfigError(
            f"`network=autoencoder_kl` needs sides divisible by {factor}, for its {blocks} halvings, got "
            f"{height}x{width}; set data.image_size, or model.network.blocks for a new network."
        )
    return height // factor, width // factor


def _channels(latent_dim: int, code: tuple[int, int]) -> int:
    positions = math.prod(code)
    if latent_dim % positions:
        raise ConfigError(
            f"`latent_dim` must be a multiple of {positions}, the code's {code[0]}x{code[1]} positions, for "
            f"network=autoencoder_kl, got {latent_dim}; 4 channels, as published, are latent_dim={4 * positions}."
        )
    return latent_dim // positions


def _architecture(settings: NetworkSettings, image_shape: Sequence[int], channels: int) -> Mapping[str, Any]:
    width, blocks = settings.width or WIDTH, settings.blocks or BLOCKS
    levels = blocks + 1
    return {
        "in_channels": image_shape[0],
        "out_channels": image_shape[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [width * min(2**level, MOST_WIDTH) for level in range(levels)],
        "layers_per_block": settings.layers_per_block or LAYERS,
        "latent_channels": channels,
        "norm_num_groups": math.gcd(GROUPS, width),
        "sample_size": max(image_shape[1:]),
        "scaling_factor": 1.0,
    }
