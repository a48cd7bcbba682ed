"""A person's image file, made fit for a model."""

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_gvae.datamodules.decode import Recipe, UnreadableImageError
from lightning_gvae.errors import DataError

__all__ = ["Upload", "read_upload", "shown_name"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MOST_PIXELS = 20_000_000
NAME_LENGTH = 60
MODES = {1: "grey", 3: "colour"}


@dataclass(frozen=True, eq=False)
class Upload:
    """An uploaded image.

    Args:
        image: uint8 ``(C, H, W)``, in the model's shape.
        note: What was done to it, in words.
    """

    image: npt.NDArray[np.uint8]
    note: str


def shown_name(name: str) -> str:
    """The last part of a file name, without what could be markup or an order to a terminal, and not too long.

    >>> shown_name("../../etc/<b>pass wd</b>.png")
    'b_.png'
    >>> shown_name("my digit (2).png")
    'my digit (2).png'
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w .()-]", "_", last).strip(" .") or "file"
    stem, dot, suffix = kept.rpartition(".")
    return kept if len(kept) <= NAME_LENGTH else f"{stem[: NAME_LENGTH - 8]}…{dot}{suffix[:6]}"


def read_upload(
    path: str | Path | None, shape: tuple[int, int, int], invert: bool = False, crop: bool = True, most_mb: int = 10
) -> Upload:
    """An image file as the model's pixels: turned upright, grey or RGB, cut square or squeezed, resized.

    Args:
        path: The uploaded file.
        shape: ``(C, H, W)`` of the model's images.
        invert: Exchange dark and light; for dark strokes on white paper where the model knows light ones on black.
        crop: Keep the proportions and cut off what is too long; else squeeze.
        most_mb: Largest file, MB.

    Raises:
        DataError: No file, too large, no image in a format that is read, damaged, or of too many pixels.
    """
    if not path:
        raise DataError("no image was given; choose an image file first.")
    path = Path(path)
    name = shown_name(path.name)
    try:
        content = path.read_bytes() if path.stat().st_size <= most_mb * 2**20 else None
    except OSError as error:
        raise DataError(f"the uploaded file {name} is no longer there; upload it again.") from error
    if content is None:
        raise DataError(
            f"{name} is larger than {most_mb} MB; make it smaller, the model sees only {_size(shape)} of it."
        )
    kind, width, height, mode = _header(name, content)
    channels, rows, columns = shape
    try:
        # A copy: Pillow's own pixels must not be written to.
        pixels = np.array(Recipe(rows, columns, channels, fit="crop" if crop else "stretch")(content))
    except UnreadableImageError as error:
        raise DataError(f"{name} is damaged ({error}); try another file.") from error
    done = [f"read {kind} of {width}×{height} pixels"]
    if (height, width) != (rows, columns):
        cut = crop and width * rows != height * columns
        done.append(f"{'cut from the middle and ' if cut else ''}resized to {columns}×{rows}")
    if (mode in ("L", "1", "I", "I;16", "LA")) != (channels == 1):
        done.append(f"made {MODES[channels]}")
    if invert:
        pixels = 255 - pixels
        done.append("dark and light exchanged")
    return Upload(pixels, f"{name}: {', '.join(done)}.")


def _header(name: str, content: bytes) -> tuple[str, int, int, str]:
    """Format, width, height and mode, without decoding the pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                kind, (width, height), mode = image.format or "", image.size, image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not an image that can be read; upload one of {', '.join(FORMATS)}.") from error
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{name} has {width:,}×{height:,} pixels; at most {MOST_PIXELS:,} are read, make the image smaller."
        )
    return kind, width, height, mode


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[2]}×{shape[1]} pixels"
