"""Decoding of image files: bytes to uint8 pixels of a fixed shape."""

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["Recipe", "UnreadableImageError"]

MODES = {1: "L", 3: "RGB"}
FITS = ("crop", "stretch")
BILINEAR = Image.Resampling.BILINEAR


class UnreadableImageError(Exception):
    """The bytes are not an image that can be decoded as asked; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """Steps from an image file to an array: turned upright, converted, cropped, resized.

    Resizing is bilinear with antialiasing, and crops are those of torchvision's ``CenterCrop``, so that
    ``Recipe(64, 64, 3, crop=148)`` equals ``CenterCrop(148), Resize(64)`` on the PIL image, pixel by pixel.

    Args:
        height: Rows of the result.
        width: Columns of the result.
        channels: 1 (grey) or 3 (RGB).
        crop: First cut a square of so many pixels from the centre; None takes the whole image.
        fit: ``"crop"`` keeps the proportions and cuts off what is too long, ``"stretch"`` does not keep them.

    Raises:
        ConfigError: A size is not positive, ``channels`` is neither 1 nor 3, or ``fit`` is another word.
    """

    height: int
    width: int
    channels: int = 3
    crop: int | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        sizes = {"height": self.height, "width": self.width, **({} if self.crop is None else {"crop": self.crop})}
        for name, size in sizes.items():
            checked_count(name, size, unit="pixels")
        if self.channels not in MODES:
            raise ConfigError(f"`channels` must be 1 (grey) or 3 (RGB), got {self.channels!r}")
        if self.fit not in FITS:
            raise ConfigError(f"`fit` must be one of {', '.join(FITS)}, got {self.fit!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of the result."""
        return self.channels, self.height, self.width

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments, for the key of a cache."""
        return asdict(self)

    def __call__(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Image uint8 ``(C, H, W)`` of a file's bytes.

        Raises:
            UnreadableImageError: The bytes are damaged, cut off or no image, or the image is smaller than ``crop``.
        """
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image = self._converted(ImageOps.exif_transpose(opened))
        # What Pillow's decoders raise on damaged files; SyntaxError is its word for a broken PNG.
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            reason = "no image in a format that Pillow knows" if "cannot identify" in str(error) else str(error)
            raise UnreadableImageError(reason) from error
        if self.crop is not None:
            if min(image.size) < self.crop:
                raise UnreadableImageError(f"{image.width}x{image.height} pixels, smaller than the crop of {self.crop}")
            image = _centre(image, self.crop, self.crop)
        pixels = np.asarray(self._resized(image))
        return pixels[None] if self.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _converted(self, image: Image.Image) -> Image.Image:
        if image.mode.startswith("I;16"):
            # Pillow would cut off all but the darkest 256 of 65,536 levels.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image.convert(MODES[self.channels])

    def _resized(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if self.fit == "stretch":
            return image.resize((self.width, self.height), BILINEAR)
        if width * self.height >= height * self.width:
            size = (max(self.width, self.height * width // height), self.height)
        else:
            size = (self.width, max(self.height, self.width * height // width))
        return _centre(image if size == image.size else image.resize(size, BILINEAR), self.height, self.width)


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
