"""Images for a model, made of what a data loader yields."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = ["image_batch"]


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
