"""Every kind of pixels that Pillow knows, converted by its rule or refused by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from lightning_gvae.datamodules.pixel_modes import Conversion, UnreadableImageError
from tests.datamodules.pictures import photo

COLOURS = Image.fromarray(photo(1, 24, 24))
GREY = photo(2, 24, 24, channels=1)
RAMP = np.tile(np.arange(32) * 65535 // 31, (4, 1)).astype(np.uint16)  # 32 levels from black to white


def converted(image: Image.Image, channels: int = 3, **settings) -> np.ndarray:
    result, _ = Conversion(channels, **settings)(image)
    assert result.mode == ("L" if channels == 1 else "RGB")
    return np.asarray(result)


def stored(image: Image.Image, kind: str, **options) -> Image.Image:
    """The image as it is opened from a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(stream)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_opaque_images_of_all_modes_show_what_they_showed(mode, channels):
    grey = mode in ("1", "L", "LA", "La")
    source = COLOURS.convert("1" if mode == "1" else "L") if grey else COLOURS
    image = source.convert("LA").convert("La") if mode == "La" else source.convert(mode)
    expected = np.asarray(source.convert("RGB").convert("L" if channels == 1 else "RGB")).astype(int)
    difference = np.abs(converted(image, channels) - expected)
    # Palettes of 216 colours and LAB of 8 bits lose something.
    assert difference.mean() <= {"P": 30, "PA": 30, "LAB": 3, "HSV": 3, "YCbCr": 2}.get(mode, 0)


def deep(kind: str) -> Image.Image:
    """The ramp as a file of the kind."""
    if kind == "PNG of 16 bits":
        return stored(Image.fromarray(RAMP), "PNG")
    if kind == "TIFF of 16 bits":
        return stored(Image.fromarray(RAMP), "TIFF")
    if kind == "TIFF of 16 bits, large end first":
        return Image.frombytes("I;16B", RAMP.shape[::-1], RAMP.astype(">u2").tobytes())
    if kind == "TIFF of 32 bits":
        return stored(Image.fromarray(RAMP.astype(np.int32)), "TIFF")
    if kind == "TIFF of 32 bits up to 255":
        return stored(Image.fromarray((RAMP >> 8).astype(np.int32)), "TIFF")
    if kind.startswith("floating TIFF"):
        return stored(Image.fromarray((RAMP / 65535 * float(kind.split()[-1])).astype(np.float32)), "TIFF")
    if kind.startswith("PFM"):
        return stored(Image.fromarray((RAMP / 65535).astype(np.float32)), "PPM")
    white = int(kind.split()[-1])
    levels = np.rint(RAMP / 65535 * white).astype(">u2" if white > 255 else "u1")
    head = f"P5 {RAMP.shape[1]} {RAMP.shape[0]} {white}\n".encode()
    return Image.open(io.BytesIO(head + levels.tobytes()))


KINDS = [
    *("PNG of 16 bits", "TIFF of 16 bits", "TIFF of 16 bits, large end first"),
    *("TIFF of 32 bits", "TIFF of 32 bits up to 255", "PFM"),
    *(f"floating TIFF up to {white}" for white in (1, 255, 65535)),
    *(f"PGM of {white}" for white in (31, 255, 1023, 4095, 65535)),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_other_ranges_are_brought_to_8_bits(kind, channels):
    pixels = converted(deep(kind), channels)
    expected = np.arange(32) * 255 / 31
    row = pixels[0] if channels == 1 else pixels[0, :, 0]
    assert np.abs(row - expected).max() <= 2 and (pixels == pixels[:1]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, float("nan")], r"holds pixels that are no numbers \(NaN or infinite\)"),
        ([0.0, float("inf")], r"holds pixels that are no numbers \(NaN or infinite\)"),
        (
            [-1.0, 1.0],
            r"holds values from -1 to 1, and the file does not say .*; set data.decoding.value_range=\[black,white\]",
        ),
        ([0.0, 1e6], r"holds values from 0 to 1e\+06, and the file does not say which are black and white"),
    ],
)
def test_floats_without_a_known_range_are_refused(values, message):
    with pytest.raises(UnreadableImageError, match=message):
        converted(Image.fromarray(np.array([values], np.float32)))


@pytest.mark.parametrize("values", [[0, 70_000], [-5, 100], [0, 2**31 - 1]])
def test_integers_without_a_known_range_are_refused(values):
    with pytest.raises(UnreadableImageError, match=r"holds values from .* set data.decoding.value_range"):
        converted(Image.fromarray(np.array([values], np.int32)))


def raw_tiff(values: np.ndarray, sample_format: int, photometric: int = 1) -> Image.Image:
    """One row of unsigned or signed numbers, as Pillow itself does not write them."""
    bits = 8 * values.itemsize
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: values.nbytes}
    tags[339] = sample_format
    data = values.tobytes() + b"\0" * (-values.nbytes % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return Image.open(io.BytesIO(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory))


def test_unsigned_integers_of_32_bits_are_not_taken_for_negative():
    numbers = raw_tiff(np.array([0, 2**32 - 1], np.uint32), 1)
    with pytest.raises(UnreadableImageError, match=r"holds values from 0 to 4\.29497e\+09"):
        converted(numbers)
    assert converted(numbers, 1, value_range=(0, 2**32 - 1)).tolist() == [[0, 255]]
    with pytest.raises(UnreadableImageError, match=r"holds values from -1 to 200"):
        converted(raw_tiff(np.array([200, -1], np.int32), 2))
    assert converted(raw_tiff(np.array([0, 65535], np.uint16), 1), 1).tolist() == [[0, 255]]


def test_a_range_that_is_given_counts_for_all_deep_images():
    floats = Image.fromarray(np.array([[-1.0, 0.0, 1.0]], np.float32))
    assert converted(floats, 1, value_range=(-1, 1)).tolist() == [[0, 128, 255]]
    twelve = Image.fromarray(np.array([[0, 2048, 4095]], np.uint16))
    assert converted(twelve, 1, value_range=(0, 4095)).tolist() == [[0, 128, 255]]
    with pytest.raises(
        UnreadableImageError, match=r"values from 0 to 4095, outside data.decoding.value_range=\[0, 1000\]"
    ):
        converted(twelve, 1, value_range=(0, 1000))
    assert np.array_equal(converted(Image.fromarray(GREY), 1, value_range=(0, 4095)), GREY)  # it has 8 bits


def test_white_may_be_zero():
    deep_tiff = stored(Image.fromarray(RAMP), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(converted(deep_tiff, 1), 255 - converted(Image.fromarray(RAMP), 1))


DISK = np.add(*(axis**2 for axis in np.mgrid[-12:12, -12:12])) < 80


def with_alpha(mode: str) -> Image.Image:
    """A black disk on colours that are transparent, in every way to say so."""
    hidden = np.where(DISK[..., None], 0, photo(3, 24, 24) | 1)
    alpha = Image.fromarray((DISK * 255).astype(np.uint8))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        plain = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA"}.get(mode, mode)
        image = Image.fromarray(hidden.astype(np.uint8)).convert(plain)
        image.putalpha(alpha)
        return image if mode == plain else image.convert(mode)
    clear = 200
    if mode == "16 bits":
        return stored(Image.fromarray(np.where(DISK, 0, clear).astype(np.uint16)), "PNG", transparency=clear)
    levels = Image.fromarray(np.where(DISK, 0, clear).astype(np.uint8))
    if mode == "L":
        return stored(levels, "PNG", transparency=clear)
    if mode == "RGB":
        return stored(levels.convert("RGB"), "PNG", transparency=(clear, clear, clear))
    if mode == "1":
        return stored(levels.convert("1", dither=Image.Dither.NONE), "PNG", transparency=1)
    image = levels.copy()
    image.putpalette([value for level in range(256) for value in (level, level, level)])
    table = bytes(0 if level == clear else 255 for level in range(256))
    if mode == "P by a table":
        return stored(image, "PNG", transparency=table)
    return stored(image, "PNG" if mode == "P by a number" else "GIF", transparency=clear)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("background", "colour"), [("white", 255), ("#808080", 128), ("rgb(10,10,10)", 10)])
@pytest.mark.parametrize(
    "mode",
    ["RGBA", "LA", "RGBa", "La", "L", "RGB", "1", "16 bits", "P by a table", "P by a number", "GIF"],
)
def test_transparent_images_are_laid_over_the_background(mode, background, colour, channels):
    image = with_alpha(mode)
    result, notes = Conversion(channels, background)(image)
    pixels = np.asarray(result).reshape(24, 24, channels)
    assert (pixels[DISK] == 0).all() and (pixels[~DISK] == colour).all()
    assert notes[-1] == f"have transparent pixels, laid over {background}"


def test_half_transparent_pixels_are_mixed_and_opaque_ones_are_not_mentioned():
    image = Image.fromarray(np.full((2, 2, 4), (0, 100, 200, 127), np.uint8))
    assert np.abs(converted(image) - np.array([128, 178, 228])).max() <= 1
    image.putalpha(255)
    assert Conversion()(image).notes == ()


@pytest.mark.parametrize(("background", "other"), [("white", "black"), ("black", "white"), ("#102030", "black")])
def test_a_shape_that_would_vanish_on_the_background_is_refused(background, other):
    image = Image.new("RGBA", (24, 24), background)
    image.putalpha(Image.fromarray((DISK * 255).astype(np.uint8)))
    with pytest.raises(UnreadableImageError, match=f"shows nothing on a {background} background: .*=({other})"):
        converted(image, background=background)
    assert len(np.unique(converted(image, 1, background=other))) == 2
    image.putalpha(0)
    assert len(np.unique(converted(image, 1))) == 1  # nothing at all was meant to be seen


def test_what_is_done_is_noted():
    assert Conversion()(stored(COLOURS.convert("CMYK"), "TIFF")).notes == (
        "are CMYK, converted without a colour profile",
    )
    assert Conversion()(deep("PGM of 1023")).notes == ("have pixels of 32-bit integers, 0 to 65535 become 0 to 255",)
    assert Conversion()(deep("floating TIFF up to 1")).notes == (
        "have pixels of floating point numbers, 0 to 1 become 0 to 255",
    )
    assert Conversion()(COLOURS).notes == ()
