import numpy as np
import pytest
import torch

from lightning_gvae.datamodules.augment import Augmentation
from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import stream_key

IMAGES = torch.randint(0, 256, (400, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
KEY = stream_key(0, "augment", 3)


def test_without_a_setting_nothing_happens():
    assert not Augmentation().active
    assert torch.equal(Augmentation()(IMAGES, KEY), IMAGES)


@pytest.mark.parametrize("settings", [{"hflip": True}, {"max_shift": 2}, {"dequantise": True}])
def test_the_same_key_makes_the_same_changes_and_another_one_others(settings):
    augmentation, before = Augmentation(**settings), IMAGES.clone()
    first = augmentation(IMAGES, KEY)
    assert augmentation.active
    assert torch.equal(augmentation(IMAGES, KEY), first)
    assert not torch.equal(augmentation(IMAGES, KEY + 1), first)
    assert torch.equal(IMAGES, before)


def test_half_the_images_are_mirrored_and_the_others_left_alone():
    changed = Augmentation(hflip=True)(IMAGES, KEY)
    mirrored = (changed == IMAGES.flip(-1)).flatten(1).all(1)
    kept = (changed == IMAGES).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert abs(int(mirrored.sum()) - 200) < 4 * np.sqrt(400 / 4)


def test_shifted_images_are_windows_of_the_image_with_its_border_repeated():
    changed = Augmentation(max_shift=2)(IMAGES, KEY)
    assert changed.dtype == torch.uint8
    padded = torch.from_numpy(np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge"))
    seen = set()
    for image, window in zip(changed, padded, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, window[:, y : y + 6, x : x + 5])]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25


def test_dequantised_values_fill_their_grey_level_evenly():
    grey = torch.full((50, 1, 20, 20), 7, dtype=torch.uint8)
    within = Augmentation(dequantise=True)(grey, KEY) * 256 - 7
    assert within.dtype == torch.float32 and within.min() >= 0 and within.max() < 1
    # Mean and variance of a uniform variable, within four standard errors of 20,000 draws.
    assert within.mean().item() == pytest.approx(1 / 2, abs=4 * np.sqrt(1 / 12 / 20_000))
    assert within.var().item() == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / 20_000))
    white = Augmentation(dequantise=True)(torch.full((500, 1, 40, 40), 255, dtype=torch.uint8), KEY)
    assert white.max() < 1


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_a_shift_that_is_no_count_is_refused(value):
    with pytest.raises(ConfigError, match=f"`max_shift` must be an integer of at least 0 .pixels., got {value}"):
        Augmentation(max_shift=value)
