import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots import images as plots
from lightning_gvae.plots.style import save
from tests.plots.test_curves import assert_all_text_is_on_the_page

RNG = np.random.Generator(np.random.Philox(key=1))


def picture(count: int, channels: int = 1, side: int = 8) -> np.ndarray:
    return RNG.integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def board(figure: Figure) -> np.ndarray:
    (axes,) = figure.axes
    (image,) = axes.get_images()
    return np.asarray(image.get_array())


def tile(figure: Figure, row: int, column: int, side: int) -> np.ndarray:
    """One image read back from the board, at its own size."""
    factor = plots.zoom(side, side)
    pitch = side * factor + 2 + plots.GAP
    top, left = row * pitch + 1, column * pitch + 1
    large = board(figure)[top : top + side * factor, left : left + side * factor]
    assert np.array_equal(large, large[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))
    return large[::factor, ::factor]


def as_rgb(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)


def labels(axes: Axes) -> tuple[list[str], list[str]]:
    return [text.get_text() for text in axes.get_yticklabels()], [text.get_text() for text in axes.get_xticklabels()]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 64, 128])
def test_grid_shows_every_image_pixel_by_pixel(tmp_path: Path, channels: int, side: int) -> None:
    tiles = picture(5, channels, side)
    figure = plots.grid(tiles)
    for index in range(5):
        assert np.array_equal(tile(figure, index // 3, index % 3, side), as_rgb(tiles[index]))
    assert (tile(figure, 1, 2, side) == 255).all()
    # One dot of the board is one dot of the file: nothing was interpolated.
    save(figure, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as file:
        pixels = np.asarray(file.convert("RGB"))
    shown = board(figure)
    height, width = shown.shape[:2]
    rows, columns = pixels.shape[0] - height, pixels.shape[1] - width
    found = [
        (top, left)
        for top in range(rows + 1)
        for left in range(columns + 1)
        if np.array_equal(pixels[top : top + height, left : left + width], shown)
    ]
    assert len(found) == 1


def test_floats_are_rounded_clipped_and_nan_is_seen() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]).reshape(1, 1, 1, 6)
    assert plots.pixels(values)[0, 0].tolist() == [[0] * 3, [0] * 3, [128] * 3, [255] * 3, [255] * 3, [255, 0, 255]]


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (2, 0, 8, 8), (2, 5, 8, 8), (0, 1, 8, 8)])
def test_pixels_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"`images` must have shape \(N, C, H, W\)"):
        plots.pixels(np.zeros(shape))


@pytest.mark.parametrize(("count", "labelled"), [(1, 2), (8, 2), (10, 2), (13, 4)])
def test_reconstructions_stand_below_their_originals(count: int, labelled: int) -> None:
    above, below = picture(count), picture(count)
    figure = plots.reconstructions(above, below)
    for index in range(min(count, 10)):
        assert np.array_equal(tile(figure, 0, index, 8), as_rgb(above[index]))
        assert np.array_equal(tile(figure, 1, index, 8), as_rgb(below[index]))
    assert labels(figure.axes[0])[0] == ["original", "reconstruction"] * (labelled // 2)
    assert_all_text_is_on_the_page(figure)


def test_reconstructions_must_match() -> None:
    with pytest.raises(ConfigError, match="`decoded` must have the shape of `originals`"):
        plots.reconstructions(picture(3), picture(2))


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_names_its_rows_and_leaves_short_ones_short(tmp_path: Path, channels: int) -> None:
    full, short, none = picture(4, channels), picture(1, channels), np.empty((0, channels, 8, 8), np.uint8)
    figure = plots.contact_sheet([("cat", short), ("yak", none), ("a long-eared owl", full)], "pets")
    for column in range(4):
        assert np.array_equal(tile(figure, 2, column, 8), as_rgb(full[column]))
        assert (tile(figure, 1, column, 8) == 255).all()
        expected = as_rgb(short[0]) if column == 0 else 255
        assert (tile(figure, 0, column, 8) == expected).all()
    assert labels(figure.axes[0])[0] == ["cat", "yak", "a long-eared owl"]
    assert_all_text_is_on_the_page(figure)
    save(figure, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as file:
        height, width, _ = board(figure).shape
        assert file.width > width and file.height > height


def test_contact_sheet_without_names_is_a_grid() -> None:
    tiles = picture(10)
    figure = plots.contact_sheet([("", tiles[:4]), ("", tiles[4:8]), ("", tiles[8:])])
    assert np.array_equal(board(figure), board(plots.grid(tiles)))
    assert labels(figure.axes[0])[0] == []


def test_contact_sheet_needs_an_image() -> None:
    with pytest.raises(ConfigError, match="at least one image, got 2 rows"):
        plots.contact_sheet([("a", picture(1)[:0]), ("b", picture(1)[:0])])


def test_prior_samples_are_a_square() -> None:
    height, width, _ = board(plots.prior_samples(picture(64))).shape
    assert height == width == 8 * (15 * 8 + 2 + plots.GAP) - plots.GAP


def test_traversals_are_ordered_by_kl_and_labelled() -> None:
    frames = picture(12).reshape(3, 4, 1, 8, 8)
    figure = plots.traversals(frames, [4, 7, 30], [0.5, float("nan"), 1.823], [-2.5, -1, 0, 2.5])
    rows, columns = labels(figure.axes[0])
    assert rows == ["z30, 1.82 nats", "z4, 0.50 nats", "z7, nan nats"]
    assert columns == ["−2.5", "−1", "0", "2.5"]
    for row, source in enumerate([2, 0, 1]):
        for column in range(4):
            assert np.array_equal(tile(figure, row, column, 8), as_rgb(frames[source, column]))
    assert np.allclose(np.diff(figure.axes[0].get_yticks()), 15 * 8 + 2 + plots.GAP)
    assert_all_text_is_on_the_page(figure)


@pytest.mark.parametrize("side", [8, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_traversals_of_many_dimensions_cut_nothing_off(side: int, channels: int) -> None:
    frames = picture(22 * 11, channels, side).reshape(22, 11, channels, side, side)
    figure = plots.traversals(frames, range(22), np.linspace(12, 0, 22), np.linspace(-2.5, 2.5, 11))
    assert_all_text_is_on_the_page(figure)
    rows = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    columns = [text.get_window_extent() for text in figure.axes[0].get_xticklabels()]
    for boxes in (rows, columns):
        assert not any(one.overlaps(two) for one, two in itertools.pairwise(boxes))


def test_traversals_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(ConfigError, match=r"\(D, V, C, H, W\) = \(2, 4, C, H, W\)"):
        plots.traversals(picture(12).reshape(3, 4, 1, 8, 8), [0, 1], [1.0, 2.0], [0, 1, 2, 3])


@pytest.mark.parametrize(
    "name", ["$a^$", "$x$", "50% & <b>", "_hidden", "caf\ufffd", "two\nlines", "", "\\frac{", "a_b$"]
)
def test_rows_may_have_any_name(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph that the font lacks
        figure = plots.contact_sheet([(name, np.zeros((2, 1, 4, 4), np.uint8))], title=f"{name}: training images")
    shown = figure.axes[0].get_yticklabels()[0].get_text() if name else ""
    assert shown.replace("\N{HAIR SPACE}", "").replace(r"\$", "$") == name


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (4, "RGBA")])
def test_the_last_of_two_or_four_channels_is_opacity_over_white(channels: int, mode: str) -> None:
    tiles = picture(3, channels)
    for tile_, shown in zip(tiles, plots.pixels(tiles), strict=True):
        image = Image.frombytes(mode, (8, 8), tile_.transpose(1, 2, 0).tobytes()).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
        assert np.abs(shown.astype(int) - expected).max() <= 1  # Pillow rounds otherwise
    with pytest.raises(ConfigError, match="C = 1 to 4, got"):
        plots.pixels(picture(2, 5))
