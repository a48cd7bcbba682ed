"""From every kind of pixels that Pillow knows to 8-bit grey or RGB, by one rule for each."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from lightning_gvae.errors import ConfigError

__all__ = ["Conversion", "Converted", "UnreadableImageError"]

MODES = {1: "L", 3: "RGB"}
# Of pixels whose file does not say what white is: the first of these that no pixel exceeds.
INTEGER_RANGES, FLOAT_RANGES = (255, 65_535), (1, 255, 65_535)
# Tags of TIFF files.
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, UNSIGNED = 0, 1


class UnreadableImageError(Exception):
    """The bytes are not an image that can be decoded as asked; the message says why."""


class Converted(NamedTuple):
    """A converted image.

    Args:
        image: Of mode ``L`` or ``RGB``.
        notes: What a reader should know of the conversion; empty for ordinary images.
    """

    image: Image.Image
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """Rules by which pixels become 8-bit grey or RGB.

    Palettes are looked up, CMYK, YCbCr, LAB and HSV become RGB (colour profiles are not applied), grey is Pillow's
    luma. Transparent images are laid over ``background``. Numbers of more than 8 bits are divided by their range, which
    is that of the format for 16 bits (12 bits in TIFF files of 12), and for 32-bit integers and floating point numbers
    the first of 0..1 (floats), 0..255 and 0..65535 that holds all of an image's values.

    Args:
        channels: 1 (grey) or 3 (RGB).
        background: Colour by name (``"white"``) or as ``"#rrggbb"``.
        value_range: Lowest and highest value of pixels of more than 8 bits, in place of the ranges above.

    Raises:
        ConfigError: ``channels`` is neither 1 nor 3, there is no such colour, or the range is empty.
    """

    channels: int = 3
    background: str = "white"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ConfigError(f"`channels` must be 1 (grey) or 3 (RGB), got {self.channels!r}")
        try:
            self._colour()
        except (ValueError, AttributeError) as error:
            raise ConfigError(
                f"`decoding.background` must be a colour such as white, black or '#808080', got {self.background!r}"
            ) from error
        if self.value_range is not None:
            numbers = all(isinstance(limit, int | float) and np.isfinite(limit) for limit in self.value_range)
            if not numbers or not self.value_range[0] < self.value_range[1]:
                raise ConfigError(f"`decoding.value_range` must be [lowest, highest], got {list(self.value_range)}")

    def __call__(self, image: Image.Image) -> Converted:
        """The image as 8-bit grey or RGB.

        Raises:
            UnreadableImageError: Its values have no known range, or it shows nothing on the background.
        """
        notes: list[str] = []
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            image = self._deep(image, notes)
        if image.has_transparency_data:
            image = self._laid_over(image, notes)
        if image.mode == "CMYK":
            notes.append("are CMYK, converted without a colour profile")
        if image.mode not in ("1", "L", "RGB"):
            image = image.convert("RGB")  # there is no direct way from LAB or HSV to grey
        return Converted(image.convert(MODES[self.channels]), tuple(notes))

    def _colour(self) -> tuple[int, int, int]:
        return ImageColor.getrgb(self.background)[:3]

    def _deep(self, image: Image.Image, notes: list[str]) -> Image.Image:
        """Grey image of 8 bits from one of more."""
        values = np.asarray(image)
        tags = getattr(image, "tag_v2", {})
        if image.mode == "I" and tags and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED:
            values = values.view(np.uint32)  # Pillow takes the upper half for negative numbers
        if not np.isfinite(values).all():
            raise UnreadableImageError("holds pixels that are no numbers (NaN or infinite)")
        low, high = self.value_range or self._range(image, values)
        if values.min() < low or values.max() > high:
            raise UnreadableImageError(
                f"holds values from {values.min():g} to {values.max():g}, outside "
                f"data.decoding.value_range=[{low:g}, {high:g}]"
            )
        if (low, high) == (0, 65_535) and values.dtype.kind in "iu":
            grey = (values >> 8).astype(np.uint8)  # the upper byte, as for every other image of 16 bits
        else:
            grey = np.rint((values.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
        kind = "floating point numbers" if image.mode == "F" else "32-bit integers" if image.mode == "I" else "16 bits"
        notes.append(f"have pixels of {kind}, {low:g} to {high:g} become 0 to 255")
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            grey = 255 - grey
        converted = Image.fromarray(grey)
        if (clear := image.info.get("transparency")) is not None:
            converted.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return converted

    def _range(self, image: Image.Image, values: npt.NDArray[np.generic]) -> tuple[float, float]:
        if image.mode.startswith("I;16"):
            bits = getattr(image, "tag_v2", {}).get(BITS, (16,))[0]
            return 0, 2 ** min(bits, 16) - 1
        if image.mode == "I" and image.format == "PPM":
            return 0, 65_535  # Pillow has stretched what the file calls white to this
        highest = values.max()
        ranges = FLOAT_RANGES if image.mode == "F" else INTEGER_RANGES
        found = next((limit for limit in ranges if highest <= limit), None)
        if values.min() < 0 or found is None:
            raise UnreadableImageError(
                f"holds values from {values.min():g} to {highest:g}, and the file does not say which are black "
                "and white;"
                " set data.decoding.value_range=[black,white]"
            )
        return 0, found

    def _laid_over(self, image: Image.Image, notes: list[str]) -> Image.Image:
        """RGB image without transparency."""
        clear = image.info.get("transparency")
        if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
            image.info["transparency"] = tuple(value >> 8 for value in clear)  # Pillow shortens the pixels alone
        seen = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = np.asarray(seen.getchannel("A"))
        if alpha.min() == 255:
            return seen.convert("RGB")
        below = Image.new("RGBA", seen.size, (*self._colour(), 255))
        below.alpha_composite(seen)
        result = below.convert("RGB")
        if alpha.min() < alpha.max() and result.getextrema() == tuple((value, value) for value in self._colour()):
            raise UnreadableImageError(
                f"shows nothing on a {self.background} background: what is visible has that colour, only the"
                " transparency carries the picture; choose another one, such as data.decoding.background="
                + ("white" if self._colour() == (0, 0, 0) else "black")
            )
        notes.append(f"have transparent pixels, laid over {self.background}")
        return result
