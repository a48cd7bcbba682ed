"""Checked uint8 images, the input of all feature spaces."""

import torch
from torch import Tensor

from lightning_gvae.errors import DataError

__all__ = ["as_rgb", "as_uint8"]


def as_uint8(images: Tensor) -> Tensor:
    """Images as uint8; what is uint8 already is returned as it is.

    Floats are rounded to the nearest of 256 levels, because the reference implementations see what a file would hold.

    Args:
        images: uint8 0..255 or float 0..1, ``(B, C, H, W)`` with 1 or 3 channels.

    Raises:
        DataError: Another type, number of dimensions or of channels; no pixel; NaN; floats outside [0, 1].
    """
    shape = tuple(images.shape)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"images must be of shape (B, C, H, W) with 1 or 3 channels, got {shape}")
    if not images.numel():
        raise DataError(f"images must have at least one pixel, got shape {shape}")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise DataError(f"images must be uint8 in 0..255 or float in 0..1, got {images.dtype}; convert them")
    missing = int(images.isnan().sum())
    if missing:
        raise DataError(f"{missing} pixels of the images are NaN; look at the model that made them")
    low, high = (bound.item() for bound in images.aminmax())
    if low < 0 or high > 1:
        raise DataError(
            f"float images must lie in 0..1, got {low:g}..{high:g}; decode to probabilities, rescale (x + 1) / 2 if"
            " they lie in -1..1, or clamp"
        )
    return (images.float() * 255).round().to(torch.uint8)


def as_rgb(images: Tensor) -> Tensor:
    """Three channels ``(B, 3, H, W)``: grey images are repeated, as an image library does when it opens a grey file."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
