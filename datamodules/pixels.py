"""Images of other libraries as this package keeps them: uint8, channels first."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from lightning_gvae.errors import DataError

__all__ = ["CHANNELS", "as_image", "as_targets", "as_uint8", "channels_first"]

CHANNELS = (1, 2, 3, 4)
ROUNDING = 1e-3  # resized floats overshoot a little

Pixels = npt.NDArray[Any]


def as_uint8(pixels: Pixels, what: str) -> npt.NDArray[np.uint8]:
    """The same pixels as 0 to 255: uint8 as it is, booleans as 0 and 255, floats in [0, 1] times 255, rounded.

    Args:
        pixels: Of any shape.
        what: Name of the data, for the message.

    Raises:
        DataError: They are of another type, or floats outside [0, 1].
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind != "f":
        raise DataError(f"{what} must be uint8, booleans, or floats in [0, 1], got {pixels.dtype}; convert them")
    least, most = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (least >= -ROUNDING and most <= 1 + ROUNDING):  # NaN is refused too
        raise DataError(
            f"{what} must be in [0, 1] if they are floats, found {least:g} to {most:g}; leave out a normalisation, or "
            "divide by the largest value"
        )
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)


def channels_first(images: Pixels, what: str, layout: str = "auto") -> Pixels:
    """Images ``(N, C, H, W)`` of ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``; a view where that is possible.

    Args:
        images: In one of these shapes, 1 to 4 channels.
        what: Name of the data, for the message.
        layout: ``"chw"``, ``"hwc"``, or ``"auto"``: channels are first if there are 1 to 4 of them, else last.

    Raises:
        DataError: The shape is another one.
    """
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4:
        if layout != "hwc" and images.shape[1] in CHANNELS:
            return images
        if layout != "chw" and images.shape[3] in CHANNELS:
            return images.transpose(0, 3, 1, 2)
    said = "" if layout == "auto" else f" with `layout={layout}`"
    raise DataError(
        f"{what} must be of shape (N, H, W), (N, C, H, W) or (N, H, W, C) with 1 to 4 channels{said}, got "
        f"{images.shape}"
    )


def as_image(value: Any, what: str) -> npt.NDArray[np.uint8]:
    """One image ``(C, H, W)``, of a PIL image, an array or a tensor.

    PIL images become grey if they are grey or black and white, otherwise RGB.

    Args:
        value: The image; arrays and tensors as for :func:`as_uint8` and :func:`channels_first`, without N.
        what: Name of the image, for the message.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(value, Image.Image):
        value = np.asarray(value.convert("L" if value.mode in ("1", "L") else "RGB"))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.ndim not in (2, 3):
        found = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{what} must be an image: a PIL image, or an array or tensor (C, H, W), got {found}")
    return np.ascontiguousarray(as_uint8(channels_first(value[None], what)[0], what))


def as_targets(values: Any, count: int) -> npt.NDArray[np.int64]:
    """Integer targets ``(N,)`` or ``(N, F)``; zeros where there are none, or none that are integers."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    found = np.asarray(values) if isinstance(values, np.ndarray | list | tuple) else np.zeros(0)
    if found.dtype.kind in "iub" and found.ndim in (1, 2) and len(found) == count:
        return found.astype(np.int64)
    return np.zeros(count, np.int64)
