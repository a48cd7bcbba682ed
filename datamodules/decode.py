"""Decoding of image files: bytes to uint8 pixels of a fixed shape."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from lightning_gvae.datamodules.pixel_modes import Conversion, UnreadableImageError
from lightning_gvae.errors import ConfigError, checked_choice, checked_count

__all__ = ["ON_ERROR", "Decoded", "DecodingSettings", "Recipe", "UnreadableImageError"]

FITS = ("crop", "stretch")
ON_ERROR = ("raise", "skip")
BILINEAR = Image.Resampling.BILINEAR
MAX_PIXELS = 2**27  # an image of more is taken for a decompression bomb
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged files; SyntaxError is its word for a broken PNG.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Decoded(NamedTuple):
    """A decoded image.

    Args:
        pixels: uint8 ``(C, H, W)``.
        notes: What a reader should know of its conversion; empty for ordinary images.
    """

    pixels: npt.NDArray[np.uint8]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DecodingSettings:
    """Decoding of image files: unusual pixels, damaged files, and how many at a time.

    Args:
        background: Colour that transparent images are laid over, such as ``"white"`` or ``"#808080"``.
        value_range: Lowest and highest value of pixels of more than 8 bits; None follows the file.
        on_error: What to do with a file that cannot be decoded: ``"raise"``, or ``"skip"`` and count it.
        workers: Threads that decode, at least 1; None is one for each processor.

    Raises:
        ConfigError: A value is none of these.
    """

    background: str = "white"
    value_range: Sequence[float] | None = None
    on_error: str = "raise"
    workers: int | None = None

    def __post_init__(self) -> None:
        Conversion(1, self.background, self.limits)
        checked_choice("decoding.on_error", self.on_error, ON_ERROR)
        if self.workers is not None:
            checked_count("decoding.workers", self.workers, unit="threads")

    @property
    def limits(self) -> tuple[float, float] | None:
        """The value range as a pair.

        Raises:
            ConfigError: It is none.
        """
        if self.value_range is None:
            return None
        if len(self.value_range) != 2:
            raise ConfigError(f"`decoding.value_range` must be [lowest, highest], got {list(self.value_range)}")
        return self.value_range[0], self.value_range[1]


@dataclass(frozen=True)
class Recipe:
    """Steps from an image file to an array: converted, turned upright, cropped, resized.

    The first picture of an animation or of a file of several pages is taken. Pixels are converted as
    :class:`~lightning_gvae.datamodules.pixel_modes.Conversion` says, and the orientation that a camera noted is undone.
    Resizing is bilinear with antialiasing, and crops are those of torchvision's ``CenterCrop``, so that
    ``Recipe(64, 64, 3, crop=148)`` equals ``CenterCrop(148), Resize(64)`` on the PIL image, pixel by pixel.

    Args:
        height: Rows of the result.
        width: Columns of the result.
        channels: 1 (grey) or 3 (RGB).
        crop: First cut a square of so many pixels from the centre; None takes the whole image.
        fit: ``"crop"`` keeps the proportions and cuts off what is too long, ``"stretch"`` does not keep them.
        background: Colour below transparent images.
        value_range: Lowest and highest value of pixels of more than 8 bits; None follows the file.

    Raises:
        ConfigError: A size is not positive, ``channels`` is neither 1 nor 3, or another setting is none of the above.
    """

    height: int
    width: int
    channels: int = 3
    crop: int | None = None
    fit: str = "crop"
    background: str = "white"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        sizes = {"height": self.height, "width": self.width, **({} if self.crop is None else {"crop": self.crop})}
        for name, size in sizes.items():
            checked_count(name, size, unit="pixels")
        if self.fit not in FITS:
            raise ConfigError(f"`fit` must be one of {', '.join(FITS)}, got {self.fit!r}")
        self._conversion()

    @classmethod
    def of(
        cls,
        image_size: int | Sequence[int],
        channels: int = 3,
        crop: int | None = None,
        fit: str = "crop",
        decoding: DecodingSettings | None = None,
    ) -> Self:
        """The recipe of a configuration, whose size may be one number.

        Raises:
            ConfigError: ``image_size`` is no pair, or as for the class.
        """
        sizes = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(sizes) != 2:
            raise ConfigError(f"`image_size` must be one number or [height, width], got {list(sizes)}")
        decoding = decoding or DecodingSettings()
        return cls(*sizes, channels, crop, fit, decoding.background, decoding.limits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of the result."""
        return self.channels, self.height, self.width

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments, for the key of a cache."""
        return asdict(self)

    def __call__(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Image uint8 ``(C, H, W)`` of a file's bytes; errors as for :meth:`decode`."""
        return self.decode(content).pixels

    def decode(self, content: bytes) -> Decoded:
        """Image of a file's bytes, and what was done to it.

        Raises:
            UnreadableImageError: The bytes are damaged, cut off or no image, their values have no known range, or the
                image is too large or smaller than ``crop``.
        """
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image, notes = self._upright(opened)
        except DAMAGED as error:
            said = str(error) or type(error).__name__
            raise UnreadableImageError(
                "no image in a format that Pillow knows" if "cannot identify" in said else said
            ) from error
        if self.crop is not None:
            if min(image.size) < self.crop:
                raise UnreadableImageError(f"{image.width}x{image.height} pixels, smaller than the crop of {self.crop}")
            image = _centre(image, self.crop, self.crop)
        pixels = np.asarray(self._resized(image))
        ordered = pixels[None] if self.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return Decoded(ordered, notes)

    def _conversion(self) -> Conversion:
        return Conversion(self.channels, self.background, self.value_range)

    def _upright(self, opened: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """The first picture, converted, as it was meant to be looked at."""
        if opened.width * opened.height > MAX_PIXELS:
            raise UnreadableImageError(f"claims {opened.width}x{opened.height} pixels, more than {MAX_PIXELS:,}")
        opened.load()
        image, notes = self._conversion()(opened)
        method = UPRIGHT.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
        if getattr(opened, "is_animated", False):
            notes += ("are animations or have several pages, of which the first is taken",)
        return image if method is None else image.transpose(method), notes

    def _resized(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if self.fit == "stretch":
            return image.resize((self.width, self.height), BILINEAR)
        if width * self.height >= height * self.width:
            size = (max(self.width, self.height * width // height), self.height)
        else:
            size = (self.width, max(self.height, self.width * height // width))
        if size[0] * size[1] > MAX_PIXELS:  # of a strip only the part is resized that stays
            image = _centre(
                image,
                min(height, -(-width * self.height // self.width)),
                min(width, -(-height * self.width // self.height)),
            )
            return image.resize((self.width, self.height), BILINEAR)
        return _centre(image if size == image.size else image.resize(size, BILINEAR), self.height, self.width)


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
