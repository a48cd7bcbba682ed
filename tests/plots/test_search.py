"""Figures of a latent search hold the numbers they were given."""

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import FRAME
from lightning_gvae.plots.search import captioned, search_history
from lightning_gvae.plots.style import INK, PALETTE


def history(runs=9, generations=20):
    rng = np.random.default_rng(0)
    names = ("best_objective", "mean_objective", "best_violation", "mean_violation", "valid", "diversity")
    return {name: rng.uniform(0.5, 1.5, (generations + 1, runs)) for name in names}


def test_history_draws_medians_and_bands():
    numbers = history()
    figure = search_history(numbers)
    panels = dict(zip(("objective", "violation", "valid", "diversity"), figure.axes, strict=True))
    best, mean = panels["objective"].lines
    np.testing.assert_allclose(best.get_ydata(), np.median(numbers["best_objective"], axis=1))
    np.testing.assert_allclose(mean.get_ydata(), np.median(numbers["mean_objective"], axis=1))
    (valid,) = panels["valid"].lines
    np.testing.assert_allclose(valid.get_ydata(), np.median(numbers["valid"], axis=1))
    band = panels["valid"].collections[0].get_paths()[0].vertices[:, 1]
    low, high = np.quantile(numbers["valid"], [0.1, 0.9], axis=1)
    assert band.min() == pytest.approx(low.min())
    assert band.max() == pytest.approx(high.max())
    assert all(axes.get_yscale() == "linear" for axes in figure.axes)
    assert figure.axes[2].get_xlabel() == "Generation"


def test_values_over_decades_get_a_logarithmic_axis():
    numbers = history(runs=1)
    numbers["best_objective"] = np.geomspace(100, 0.01, 21)[:, None]
    figure = search_history(numbers)
    assert figure.axes[0].get_yscale() == "log"
    assert not figure.axes[0].collections  # one run has no band


def test_runs_that_stopped_leave_gaps_only_where_all_did():
    numbers = history(runs=3)
    for values in numbers.values():
        values[5:, 0] = np.nan
        values[11:] = np.nan
    numbers["diversity"][:] = np.nan
    figure = search_history(numbers)
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == list(range(11))
    np.testing.assert_allclose(line.get_ydata()[5:], numbers["best_objective"][5:11, 1:].mean(1))
    assert not figure.axes[3].lines


def test_captions_stand_under_their_images():
    images = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((5, 1, 28, 28))
    figure = captioned(images, [f"g{i}\np={i}" for i in range(5)], "Title", 3, [False, True, False, False, False])
    (axes,) = figure.axes
    board = axes.images[0].get_array()
    texts = [text for text in axes.texts if text.get_text()]
    assert [text.get_text() for text in texts] == [f"g{i}\np={i}" for i in range(5)]
    assert [text.get_color() for text in texts] == [INK, PALETTE[1], INK, INK, INK]
    for index, text in enumerate(texts):
        x, y = (round(value) for value in text.get_position())
        assert (board[y - 4, x] == FRAME).all()  # the frame of the image above
        assert (board[y - 20, x] == round(255 * index / 4)).all()
        assert (board[y + 2 : y + 36, x] == 255).all()
    assert axes.get_title(loc="left") == "Title"


def test_captions_are_as_many_as_images():
    with pytest.raises(ConfigError, match="`captions` must be one an image, got 1 for 2"):
        captioned(np.zeros((2, 1, 8, 8)), ["a"], "", 2)
