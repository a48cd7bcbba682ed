"""Images for a model, made of what a data loader yields."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = ["PIXELS", "PixelRange", "image_batch"]

ROUNDING = 1e-3  # resized and cropped floats overshoot a little


class PixelRange(NamedTuple):
    """Values of pixels that a model can be trained on.

    Args:
        low: Least value.
        high: Greatest value.
        setting: What asks for this range, for the message.
    """

    low: float
    high: float
    setting: str

    def check(self, images: Tensor) -> None:
        """Look at the images of one batch; those that are no number are left to others.

        Raises:
            ConfigError: A pixel is outside the range.
        """
        least, most = (float(value) for value in torch.aminmax(images.detach()))
        if least < self.low - ROUNDING or most > self.high + ROUNDING:
            raise ConfigError(
                f"the first batch holds pixels from {least:g} to {most:g}, but {self.setting} takes images in "
                "[0, 1]; give"
                " uint8 images, which are divided by 255, or floats in [0, 1]: ToTensor() without Normalize(...)"
            )


# Squared errors bear what noise and interpolation add to images in [0, 1], but not another range.
PIXELS = PixelRange(-0.5, 1.5, "the model")


def image_batch(batch: Any, image_shape: Sequence[int]) -> Tensor:
    """Float images in [0, 1], ``(B, *image_shape)``, from a batch: images alone or first of a tuple, uint8 or float.

    Raises:
        ConfigError: The images have another shape than the model was built for.
    """
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if tuple(images.shape[1:]) != tuple(image_shape):
        raise ConfigError(
            f"the data has images of shape {tuple(images.shape[1:])}, the model was built for `image_shape` "
            f"{tuple(image_shape)}; build the model for the data, or choose the matching data."
        )
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()
