"""A data set that holds every combination of its factors once, and encoders of it.

An image is named by its factor classes. Scores that fix a factor draw many more images than the set has different
ones; each is encoded once, in large chunks, and looked up afterwards.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.checks import Floats, Ints, checked_codes, checked_count
from lightning_gvae.rng import numpy_stream

__all__ = ["Encode", "checked_grid", "draw_codes", "draw_factors", "encode_once"]

Encode = Callable[[Ints], npt.ArrayLike | torch.Tensor]
"""Codes ``(B, L)`` of the images with factor classes ``(B, F)``; must be deterministic, so means and not samples."""

MOST_IMAGES = 2**31


def checked_grid(factor_sizes: Sequence[int], num_images: int | None = None) -> tuple[int, ...]:
    """Numbers of values of the factors.

    Args:
        factor_sizes: F whole numbers of at least 2.
        num_images: Images in the data set, which must be the product of ``factor_sizes``; None: not checked.

    Raises:
        ConfigError: No factors, a factor of one value, or too many or too few images to be a full grid.
    """
    if not len(factor_sizes):
        raise ConfigError(
            "the score needs a data set with known factors, got no `factor_sizes`; use one that has every combination "
            "of its factors, such as dsprites, or leave the score out"
        )
    sizes = tuple(checked_count("factor_sizes", size, least=2) for size in factor_sizes)
    combinations = math.prod(sizes)
    if combinations > MOST_IMAGES or (num_images is not None and num_images != combinations):
        found = "" if num_images is None else f", got {num_images} images"
        raise ConfigError(
            f"the score fixes one factor and draws the others, so the data set must hold each of the {combinations} "
            f"combinations of its {len(sizes)} factors once{found}; labels such as CelebA's attributes do not. Use "
            "mig, sap or dci there, which take any labelled images"
        )
    return sizes


def draw_factors(generator: np.random.Generator, sizes: Sequence[int], shape: tuple[int, ...]) -> Ints:
    """Independent uniform factor classes ``(*shape, F)``."""
    return generator.integers(0, sizes, size=(*shape, len(sizes)))


def draw_codes(
    encode: Encode, factor_sizes: Sequence[int], count: int, *, seed: int, encode_batch: int = 4096
) -> tuple[Floats, Ints]:
    """Codes ``(count, L)`` and factor classes ``(count, F)`` of images drawn with replacement.

    Raises:
        ConfigError: ``factor_sizes`` is not a grid, or a count is out of range.
        DataError: The encoder returns something else than a finite row for each image.
    """
    sizes = checked_grid(factor_sizes)
    checked_count("count", count)
    factors = draw_factors(numpy_stream(seed, "labelled_codes"), sizes, (count,))
    codes, rows = encode_once(encode, factors, sizes, encode_batch)
    return codes[rows], factors


def encode_once(
    encode: Encode, factors: Ints, sizes: Sequence[int], encode_batch: int = 4096
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Codes of the different images among ``factors`` ``(..., F)``, and where each image's code is.

    Args:
        encode: See :data:`Encode`; called with up to ``encode_batch`` rows, in the order of the data set.
        factors: Factor classes, below ``sizes``.
        sizes: Number of values of each factor.
        encode_batch: Images a call.

    Returns:
        Codes ``(U, L)`` and rows ``(...,)`` in 0..U-1, so that ``codes[rows]`` are the codes of ``factors``.

    Raises:
        ConfigError: ``encode_batch`` is not positive.
        DataError: The encoder returns something else than a finite row for each image.
    """
    checked_count("encode_batch", encode_batch)
    index = np.ravel_multi_index(tuple(np.moveaxis(factors, -1, 0)), tuple(sizes))
    different, rows = np.unique(index, return_inverse=True)
    parts = []
    for start in range(0, len(different), encode_batch):
        chunk = np.stack(np.unravel_index(different[start : start + encode_batch], tuple(sizes)), axis=1)
        part = _to_array(encode(chunk.astype(np.int64)))
        if part.ndim != 2 or len(part) != len(chunk):
            raise DataError(f"`encode` must return (images, latents) for {len(chunk)} images, got shape {part.shape}")
        parts.append(part)
    return checked_codes(np.concatenate(parts)), rows.reshape(factors.shape[:-1])


def _to_array(codes: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.floating]:
    return codes.detach().cpu().float().numpy() if isinstance(codes, torch.Tensor) else np.asarray(codes)
