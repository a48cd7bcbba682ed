"""Pictures of an archive: sizes, directions of the axes, and refusals."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.archive import archive_history, elite_mosaic, heat_maps
from lightning_gvae.plots.ratios import paired_ratios

NAMES, RANGES = ["width", "height"], [[0.0, 4.0], [10.0, 40.0]]


def drawn(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


def test_low_values_lie_left_and_below_on_one_scale_of_colours() -> None:
    first, second = np.arange(12.0).reshape(3, 4), np.full((3, 4), np.nan)
    second[0, 0] = 30.0
    figure = heat_maps({"all": first, "some": second}, NAMES, RANGES, "objective")
    left, right = figure.axes[:2]
    shown = left.images[0]
    assert shown.origin == "lower"
    assert shown.get_extent() == [0.0, 4.0, 10.0, 40.0]
    assert shown.get_clim() == right.images[0].get_clim() == (0.0, 30.0)
    assert (left.get_xlabel(), left.get_ylabel()) == ("Width", "Height")
    assert len(figure.axes) == 3
    assert heat_maps({"one": first[:1]}, NAMES[:1], RANGES[:1], "x").axes[0].get_yticks().size == 0


def test_the_mosaic_puts_each_image_in_its_place() -> None:
    tiles = np.full((2, 3, 1, 8, 8), np.nan)
    tiles[0, 0], tiles[1, 2] = 0.0, 0.5  # black: low and low; grey: high and high
    figure = elite_mosaic(tiles, NAMES, RANGES)
    axes = figure.axes[0]
    drawn(figure)
    board = np.asarray(axes.images[0].get_array())
    height, width = board.shape[0] // 2, board.shape[1] // 3
    middles = [[tuple(board[height // 2 + r * height, width // 2 + c * width]) for c in range(3)] for r in range(2)]
    assert middles[1][0] == (0, 0, 0)
    assert middles[0][2] == (128, 128, 128)
    assert all(middles[r][c] == (255, 255, 255) for r, c in [(0, 0), (0, 1), (1, 1), (1, 2)])
    assert axes.get_xlim() == (0.0, 4.0)
    assert axes.get_ylim() == (10.0, 40.0)
    # Whole dots an image: nothing is blurred.
    box = axes.get_window_extent()
    assert (round(box.width), round(box.height)) == (board.shape[1], board.shape[0])


def test_the_history_has_curves_of_all_and_of_the_realistic() -> None:
    history = {"evaluations": np.array([10, 20]), "best": np.array([1.0, 2.0])}
    history |= {
        f"{name}{suffix}": np.array([1.0, 3.0]) for name in ("cells", "qd_score") for suffix in ("", "_realistic")
    }
    figure = archive_history(history, 4, realistic=True)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 1]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.25, 0.75]  # type: ignore[union-attr]
    assert [len(axes.lines) for axes in archive_history(history, 4).axes] == [1, 1, 1]


def test_ratios_show_every_repeat_and_an_interval() -> None:
    figure = paired_ratios({"one": np.array([0.5, 0.7]), "two": np.array([1.2])}, "Title", "Ratio")
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [np.asarray(line.get_ydata()).tolist() for line in dots] == [[0.5, 0.7], [1.2]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["One", "Two"]
    with pytest.raises(ConfigError, match="at least one group"):
        paired_ratios({"one": np.array([])}, "Title", "Ratio")


def test_empty_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one map with a value"):
        heat_maps({"all": np.full((2, 2), np.nan)}, NAMES, RANGES, "x")
    with pytest.raises(ConfigError, match="at least one image"):
        elite_mosaic(np.full((2, 2, 1, 4, 4), np.nan), NAMES, RANGES)
