"""New images from a seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.app.service.checks import HIGHEST_SEED, number_between, whole_number
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import numpy_stream, torch_stream
from lightning_gvae.samplers import SAMPLERS

__all__ = ["Samples", "noise", "sample"]

Latents = npt.NDArray[np.float32]
HOTTEST = 3.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Generated images and how they came about.

    Args:
        images: uint8 ``(N, C, H, W)``.
        latents: ``(N, Z)``.
        facts: Checkpoint, seed, temperature and sampler.
    """

    images: npt.NDArray[np.uint8]
    latents: Latents
    facts: dict[str, str | int | float]


def noise(seed: int, count: int, size: int, tag: str = "app/noise") -> Latents:
    """Standard normal noise ``(count, size)``; its first rows do not depend on ``count``."""
    return numpy_stream(seed, tag).standard_normal((count, size), dtype=np.float32)


def sample(
    opened: Opened, n: object, seed: object, temperature: object = 1.0, sampler: str = "prior", most: int = 1000
) -> Samples:
    """``n`` images; the same arguments give the same images, and with the prior 16 are the first 16 of 64.

    Args:
        opened: The model.
        n: 1 to ``most``.
        seed: 0 or more.
        temperature: In [0, 3]. Of the prior: factor of the standard normal noise. Of a fitted sampler: factor of the
            distance from the mean of the latents.
        sampler: ``prior`` (the model's own), ``gmm`` or ``flow``, fitted to latents of training images.
        most: Upper limit of ``n``.

    Raises:
        ConfigError: A number is out of range, the sampler is unknown, or the model has no posteriors to fit it to.
        DataError: The training images, to which a sampler is fitted, cannot be read.
    """
    count = whole_number("The number of images", n, 1, most)
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    heat = number_between("The temperature", temperature, 0, HOTTEST)
    if sampler not in SAMPLERS:
        raise ConfigError(f"the sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}.")
    if sampler == "prior":
        latents = opened.prior_latents(np.float32(heat) * noise(key, count, opened.latent_dim))
    else:
        centre = opened.posteriors().means.mean(0).numpy()
        stream = torch_stream(key, f"app/{sampler}")
        with torch.no_grad():
            drawn = opened.sampler(sampler).sample(count, stream).cpu().numpy()
        latents = (centre + heat * (drawn - centre)).astype(np.float32)
    facts: dict[str, str | int | float] = {
        "checkpoint": opened.label,
        "model": opened.kind,
        "seed": key,
        "temperature": heat,
        "sampler": sampler,
    }
    return Samples(opened.decode(latents), latents, facts)
