"""Reconstruction of an image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.checks import HIGHEST_SEED, whole_number
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.rng import numpy_stream

__all__ = ["Reconstruction", "real_images", "reconstruct"]

Images = npt.NDArray[np.uint8]
MOST = 64


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images and what the decoder makes of the means of their posteriors.

    Args:
        originals: uint8 ``(N, C, H, W)``.
        images: uint8 ``(N, C, H, W)``.
        means: ``(N, Z)``.
        errors: Root mean squared error of the pixels, in grey levels 0..255, ``(N,)``.
        kl: KL of the posteriors to the standard normal, nats, ``(N,)``.
    """

    originals: Images
    images: Images
    means: npt.NDArray[np.float32]
    errors: npt.NDArray[np.float64]
    kl: npt.NDArray[np.float64]


def reconstruct(opened: Opened, images: Images) -> Reconstruction:
    """Encode and decode images uint8 ``(N, C, H, W)``.

    Raises:
        ConfigError: The model has no encoder, or the images have another shape than its own.
    """
    means, log_vars = opened.encode(images)
    decoded = opened.decode(means)
    errors = np.sqrt(np.square(decoded.astype(np.float64) - images).mean((1, 2, 3)))
    kl = 0.5 * (np.square(means) + np.exp(log_vars) - 1 - log_vars).sum(1, dtype=np.float64)
    return Reconstruction(images, decoded, means, errors, kl)


def real_images(opened: Opened, count: object, seed: object) -> Images:
    """Test images of the model's data set, chosen by a seed, uint8 ``(N, C, H, W)``.

    Raises:
        ConfigError: A number is out of range.
        DataError: The data set cannot be read.
    """
    wanted = whole_number("The number of images", count, 1, MOST)
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    part = opened.subject.data.test_set
    chosen = numpy_stream(key, "app/real").permutation(len(part))[:wanted]
    return part.batch(chosen)[0].cpu().numpy()
