"""The small digits that come with scikit-learn: real images without a download, for tests and first runs."""

from typing import Unpack

import numpy as np
from sklearn.datasets import load_digits

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions

__all__ = ["DigitsDataModule"]


class DigitsDataModule(ImageDataModule):
    """1,797 grey images of 8x8 pixels in ten classes.

    The original values 0..16 are stretched to 0..255 and rounded. Validation and test parts are cut from the whole.

    Args:
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    References:
        Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """

    def __init__(self, val_size: int = 200, test_size: int = 400, **options: Unpack[LoaderOptions]) -> None:
        spec = DataSpec("digits", (1, 8, 8), num_classes=10, class_names=tuple("0123456789"))
        super().__init__(spec, val_size, test_size, **options)

    def load(self) -> tuple[ImageArrays, None]:
        """All images; there is no test set of their own."""
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return ImageArrays(images[:, None], digits.target), None
