from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.animation import traversal_gif

RNG = np.random.Generator(np.random.Philox(key=2))


def read(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    shown, durations = [], []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            shown.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration"))
        return shown, {"loop": image.info.get("loop"), "durations": durations}


@pytest.mark.parametrize("channels", [1, 3])
def test_it_goes_there_and_back_for_ever(tmp_path: Path, channels: int) -> None:
    frames = RNG.integers(0, 256, (3, 5, channels, 8, 8), dtype=np.uint8)
    traversal_gif(tmp_path / "a.gif", frames, ["z1", "z2", "z3"], milliseconds=70)
    shown, info = read(tmp_path / "a.gif")
    assert len(shown) == 8
    assert info == {"loop": 0, "durations": [70] * 8}
    for one, two in ((1, 7), (2, 6), (3, 5)):
        assert np.array_equal(shown[one], shown[two])
    assert not np.array_equal(shown[0], shown[4])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gif"]


def test_grey_frames_are_kept_exactly_and_enlarged_without_blur(tmp_path: Path) -> None:
    frames = RNG.integers(0, 256, (2, 3, 1, 8, 8), dtype=np.uint8)
    traversal_gif(tmp_path / "a.gif", frames)
    shown, _ = read(tmp_path / "a.gif")
    for value in range(3):
        for dim in range(2):
            left = 12 + 1 + dim * (16 * 8 + 2 + 12)
            tile = shown[value][13 : 13 + 128, left : left + 128]
            expected = frames[dim, value, 0].repeat(16, 0).repeat(16, 1)
            assert np.array_equal(tile, np.stack([expected] * 3, axis=-1))


def test_colours_stay_close_and_the_page_is_white(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 16)
    frames = np.stack([np.stack([np.outer(ramp, ramp), np.outer(ramp, ramp[::-1]), ramp[:, None] + 0 * ramp])])
    frames = np.stack([frames * level for level in (0.4, 0.7, 1.0)], axis=1)
    traversal_gif(tmp_path / "a.gif", frames)
    shown, _ = read(tmp_path / "a.gif")
    assert all((frame[:12] == 255).all() for frame in shown)
    last = shown[2][13 : 13 + 128 : 8, 13 : 13 + 128 : 8].astype(float) / 255
    assert np.abs(last - frames[0, 2].transpose(1, 2, 0)).max() < 0.12


def test_labels_are_drawn_above_their_images(tmp_path: Path) -> None:
    frames = np.zeros((6, 2, 1, 8, 8))
    frames[:, 1] = 1
    traversal_gif(tmp_path / "with.gif", frames, [f"z{index}" for index in range(6)])
    traversal_gif(tmp_path / "without.gif", frames)
    with_labels, without = read(tmp_path / "with.gif")[0][0], read(tmp_path / "without.gif")[0][0]
    assert with_labels.shape[0] == without.shape[0] + 2 * 22  # six images make two rows
    assert with_labels[12:34, 12:40].min() < 100
    assert with_labels[:, -12:].min() == 255


def test_a_single_value_is_a_still(tmp_path: Path) -> None:
    traversal_gif(tmp_path / "a.gif", np.zeros((1, 1, 1, 8, 8)))
    assert len(read(tmp_path / "a.gif")[0]) == 1


def test_bad_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`frames` must have shape \(D, V, C, H, W\), none of them 0, got \(2, 1"):
        traversal_gif(tmp_path / "a.gif", np.zeros((2, 1, 8, 8)))
    with pytest.raises(ConfigError, match="`labels` must name each of the 2 dimensions, got 1"):
        traversal_gif(tmp_path / "a.gif", np.zeros((2, 3, 1, 8, 8)), ["z0"])
    assert not list(tmp_path.iterdir())
