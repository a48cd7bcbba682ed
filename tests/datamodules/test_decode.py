import io

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

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
    transparent = np.dstack([photo(2, 12, 12), np.full((12, 12), 9, np.uint8)])
    assert np.array_equal(Recipe(12, 12)(encoded(transparent)), photo(2, 12, 12).transpose(2, 0, 1))


def test_photographs_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    pixels = photo(3, 20, 10)
    upright = Recipe(10, 20)(encoded(pixels, "PNG", exif=exif))
    assert np.array_equal(upright, np.rot90(pixels, -1).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image in a format that Pillow knows"),
        (b"<html>quota exceeded</html>", "no image in a format that Pillow knows"),
        (encoded(photo(0), "JPEG")[:-200], "truncated"),
        (encoded(photo(0), "PNG")[:-200], "truncated|broken|unrecognized data stream|CRC"),
        (encoded(photo(0), "PNG")[:60] + bytes(40) + encoded(photo(0), "PNG")[100:], "broken|truncated|decod"),
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
        ({"fit": "pad"}, "`fit` must be one of crop, stretch, got 'pad'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**({"height": 8, "width": 8} | settings))
