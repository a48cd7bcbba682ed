"""A model with the networks of a latent diffusion model's VAE, written as diffusers reads it."""

from pathlib import Path
from typing import Any

from lightning_gvae.nets.autoencoder_kl import save_autoencoder_kl

__all__ = ["export_diffusers"]


def export_diffusers(model: Any, folder: str | Path, scaling_factor: float = 1.0) -> Path:
    """Write the networks of a trained model; ``diffusers.AutoencoderKL.from_pretrained(folder)`` reads them.

    Args:
        model: With ``network=autoencoder_kl``.
        folder: Made if it is missing.
        scaling_factor: What a diffusion model multiplies latents by, 1 / their standard deviation over the data.

    Returns:
        The folder.

    Raises:
        ConfigError: The model has other networks, or diffusers is not installed.
    """
    return save_autoencoder_kl(getattr(model, "encoder", None), getattr(model, "decoder", None), folder, scaling_factor)
