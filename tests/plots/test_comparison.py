import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.comparison import end_points, method_bars, method_curves

STEPS = np.arange(0.0, 10.0)


def test_curves_are_means_over_the_steps_that_all_runs_have():
    runs = {"a": [(STEPS, STEPS), (STEPS[:8], STEPS[:8] + 2)], "b": [(STEPS, np.zeros(10))]}
    axes = method_curves(runs, "title", "nats", target=3.0).axes[0]
    a, b, target = axes.get_lines()
    assert np.array_equal(a.get_xdata(), STEPS[:8]) and np.allclose(a.get_ydata(), STEPS[:8] + 1)
    assert np.array_equal(b.get_xdata(), STEPS)
    assert set(target.get_ydata()) == {3.0}
    band = axes.collections[0].get_datalim(axes.transData)
    assert (band.y0, band.y1) == (0, 9)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_every_run_is_a_point():
    points = {"a": np.array([[1.0, 9.0], [2.0, 8.0]]), "b": np.array([[3.0, 7.0]])}
    axes = end_points(points, target=2.0).axes[0]
    for drawn, rows in zip(axes.collections, points.values(), strict=True):
        assert np.array_equal(drawn.get_offsets(), rows)


def test_curves_run_from_low_to_high_rates():
    curve = np.array([[3.0, 7.0], [1.0, 9.0], [2.0, 8.0]])
    axes = end_points({"a": np.array([[1.0, 9.0]])}, curves={"fixed": curve}).axes[0]
    (drawn,) = axes.get_lines()
    assert drawn.get_xdata().tolist() == [1, 2, 3] and drawn.get_ydata().tolist() == [9, 8, 7]


def test_bars_are_means_with_the_range_over_the_seeds():
    axes = method_bars({"a": np.array([[4.0, 1.0], [6.0, 3.0]]), "b": np.array([[2.0, 2.0]])}, "t", "g", "u").axes[0]
    heights = [[bar.get_height() for bar in group] for group in axes.containers if group.get_label() in ("a", "b")]
    assert heights == [[5, 2], [2, 2]]
    ends = axes.collections[0].get_segments()
    assert [(end[0][1], end[1][1]) for end in ends] == [(4, 6), (1, 3)]


def test_nothing_to_draw_is_refused():
    for runs in ({}, {"a": []}):
        with pytest.raises(ConfigError, match="`runs` must hold at least one run of every method"):
            method_curves(runs, "title", "nats")
    with pytest.raises(ConfigError, match="`points` must hold .rate, distortion. rows"):
        end_points({"a": np.zeros(3)})
    with pytest.raises(ConfigError, match="rows of the same length for every method"):
        method_bars({"a": np.zeros((1, 2)), "b": np.zeros((1, 3))}, "t", "g", "u")
