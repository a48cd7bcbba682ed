import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision import transforms

from lightning_gvae.datamodules import decode
from lightning_gvae.datamodules.decode import Recipe, UnreadableImageError
from lightning_gvae.errors import ConfigError
from tests.datamodules.pictures import encoded, photo


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(218, 178), (178, 218), (64, 64), (151, 149), (65, 200)])
def test_crops_and_resizes_are_those_of_torchvision(kind, channels, height, width):
    content = encoded(photo(1, height, width), kind)
    image = Image.open(io.BytesIO(content)).convert("L" if channels == 1 else "RGB")
    for recipe, theirs in [
        (Recipe(32, 32, channels), [transforms.Resize(32), transforms.CenterCrop(32)]),
        (Recipe(32, 32, channels, crop=60), [transforms.CenterCrop(60), transforms.Resize(32)]),
        (Recipe(24, 40, channels, fit="stretch"), [transforms.Resize((24, 40))]),
    ]:
        expected = np.asarray(transforms.Compose(theirs)(image)).reshape(recipe.shape[1], recipe.shape[2], channels)
        assert np.array_equal(recipe(content), expected.transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width"), [(20, 50), (50, 20), (7, 7), (20, 30)])
def test_a_rectangle_is_filled_with_the_proportions_kept(height, width):
    wide = np.zeros((60, 90, 3), np.uint8)
    wide[:, :, 0] = np.linspace(0, 255, 90)[None]
    result = Recipe(height, width)(encoded(wide))
    assert result.shape == (3, height, width) and result.dtype == np.uint8
    # One pixel of the result is as wide as it is high in the original, so the ramp's slope tells the scale.
    scale = max(height / 60, width / 90)
    slope = np.diff(result[0].astype(float).mean(axis=0))[1:-1].mean()
    assert slope == pytest.approx(255 / 89 / scale, rel=0.1)


def test_small_images_are_enlarged():
    assert Recipe(16, 16)(encoded(photo(0, 5, 4))).shape == (3, 16, 16)


def test_other_kinds_of_pixels():
    grey = photo(2, 12, 12, channels=1)
    assert np.array_equal(Recipe(12, 12, 1)(encoded(grey))[0], grey)
    assert np.array_equal(Recipe(12, 12, 3)(encoded(grey)), np.stack([grey] * 3))
    deep = (grey.astype(np.uint16) << 8) + 77
    assert np.array_equal(Recipe(12, 12, 1)(encoded(deep))[0], grey)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "16 bits"])
@pytest.mark.parametrize("orientation", range(10))
def test_photographs_are_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = photo(3, 20, 10, channels=1 if kind == "16 bits" else 3)
    stored = pixels.astype(np.uint16) << 8 if kind == "16 bits" else pixels
    content = encoded(stored, "TIFF" if kind == "TIFF" else "PNG", exif=exif)
    meant = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(pixels, "PNG", exif=exif))))
    assert np.array_equal(Recipe(*meant.size[::-1])(content), np.asarray(meant.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(kind):
    first, *rest = (Image.fromarray(photo(number, 12, 12)) for number in range(3))
    stream = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(stream, kind, save_all=True, append_images=rest, **options)
    pixels, notes = Recipe(12, 12).decode(stream.getvalue())
    difference = np.abs(pixels.astype(int) - photo(0, 12, 12).transpose(2, 0, 1)).mean()
    assert difference < (20 if kind == "GIF" else 1e-9)  # a GIF has 256 colours
    assert notes == ("are animations or have several pages, of which the first is taken",)


def test_a_strip_is_cut_before_it_is_enlarged(monkeypatch):
    strip = np.zeros((4000, 2, 3), np.uint8)
    strip[1996:2004] = 255
    whole = Recipe(8, 8)(encoded(strip))
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(Image.Image, "resize", small(Image.Image.resize))
    assert np.abs(Recipe(8, 8)(encoded(strip)).astype(int) - whole).max() < 64
    assert Recipe(8, 8)(encoded(strip.transpose(1, 0, 2))).shape == (3, 8, 8)


def small(resize):
    def checked(image, size, *args):
        assert size[0] * size[1] <= 10_000
        return resize(image, size, *args)

    return checked


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image in a format that Pillow knows"),
        (b"<html>quota exceeded</html>", "no image in a format that Pillow knows"),
        (encoded(photo(0), "JPEG")[:-200], "truncated"),
        (encoded(photo(0), "PNG")[:-200], "truncated|broken|unrecognized data stream|CRC"),
        (encoded(photo(0), "PNG")[:60] + bytes(40) + encoded(photo(0), "PNG")[100:], "broken|truncated|decod"),
        (b"P5 0 0 255\n", "."),
        (b"P6 100000 100000 255\n" + bytes(99), "pixels"),
        (b"P6 12000 12000 255\n" + bytes(99), "claims 12000x12000 pixels, more than 134,217,728"),
        (b"P5 4 4 0\n" + bytes(16), "."),
        (encoded(photo(0), "TIFF")[:200], "."),
        (encoded(photo(0), "GIF")[:30], "."),
        (encoded(photo(0), "WEBP")[:100], "."),
        (encoded(photo(0), "BMP")[:80], "truncated"),
    ],
)
def test_what_is_no_whole_image_is_reported(content, message):
    with pytest.raises(UnreadableImageError, match=message):
        Recipe(8, 8)(content)


def test_an_image_smaller_than_the_crop_is_reported():
    with pytest.raises(UnreadableImageError, match="30x40 pixels, smaller than the crop of 31"):
        Recipe(8, 8, crop=31)(encoded(photo(0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 0}, "`height` must be an integer of at least 1 .pixels., got 0"),
        ({"width": 2.5}, "`width` must be an integer of at least 1 .pixels., got 2.5"),
        ({"crop": -1}, "`crop` must be an integer of at least 1 .pixels., got -1"),
        ({"channels": 4}, "`channels` must be 1 .grey. or 3 .RGB., got 4"),
        (
            {"background": "wite"},
            "`decoding.background` must be a colour such as white, black or '#808080', got 'wite'",
        ),
        ({"value_range": (1, 1)}, r"`decoding.value_range` must be \[lowest, highest\], got \[1, 1\]"),
        ({"value_range": (0, float("inf"))}, r"`decoding.value_range` must be \[lowest, highest\], got \[0, inf\]"),
        ({"fit": "pad"}, "`fit` must be one of crop, stretch, got 'pad'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**({"height": 8, "width": 8} | settings))
