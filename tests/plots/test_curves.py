from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.curves import beta_and_kl, kl_per_dimension, learning_curves, rate_distortion, spread

STEPS = np.arange(50) * 10.0
RNG = np.random.Generator(np.random.Philox(key=0))


def drawn(axes: Axes) -> list[Any]:
    return [line for line in axes.get_lines() if np.size(line.get_xdata())]


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def assert_all_text_is_on_the_page(figure: Figure) -> None:
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        if text.get_window_extent().width == 0:
            continue
        tick_of_an_axis = any(text in axis.get_ticklabels() for a in figure.axes for axis in (a.xaxis, a.yaxis))
        if tick_of_an_axis and not _shown(text, figure):
            continue
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def _shown(text: Text, figure: Figure) -> bool:
    for axes in figure.axes:
        for axis, index in ((axes.xaxis, 0), (axes.yaxis, 1)):
            if text in axis.get_ticklabels():
                low, high = sorted(axis.get_view_interval())
                return low <= text.get_position()[index] <= high
    return True


def kl(dims: int) -> np.ndarray:
    return np.linspace(3, 0.1, dims) * (1 - np.exp(-STEPS[:, None] / 100)) + 0.01 * RNG.random((len(STEPS), dims))


def test_kl_per_dimension_draws_every_dimension_and_names_the_largest() -> None:
    values = kl(25)[:, ::-1]
    figure = kl_per_dimension(STEPS, values)
    (axes,) = figure.axes
    lines = drawn(axes)
    assert len(lines) == 25
    wanted = sorted(tuple(column) for column in values.T)
    assert sorted(tuple(line.get_ydata()) for line in lines) == wanted
    named = {line.get_label(): line for line in lines if line.get_label().startswith("z")}
    assert set(named) == {f"z{index}" for index in range(18, 25)}
    assert len({line.get_color() for line in named.values()}) == 7
    assert np.array_equal(named["z24"].get_ydata(), values[:, 24])
    assert "18 other dimensions" in words(figure)
    assert "1 other dimension" in words(kl_per_dimension(STEPS, kl(8)))
    assert not any("other" in word for word in words(kl_per_dimension(STEPS, kl(7))))
    assert axes.get_ylabel() == "KL (nats)" and axes.get_xlabel() == "Step"
    assert f"z24  {values[-1, 24]:.2f}" in words(figure)


@pytest.mark.parametrize("rows", [1, 2, 50])
@pytest.mark.parametrize("dims", [1, 10, 40])
def test_names_at_the_end_do_not_overlap_and_nothing_is_cut_off(rows: int, dims: int) -> None:
    figure = kl_per_dimension(STEPS[:rows], np.full((rows, dims), 0.5))
    assert_all_text_is_on_the_page(figure)
    boxes = [text.get_window_extent() for text in texts(figure) if text.get_text().startswith("z")]
    assert len(boxes) == min(dims, 7)
    assert not any(one.overlaps(two) for index, one in enumerate(boxes) for two in boxes[:index])


def test_a_dimension_without_a_finite_value_is_not_named() -> None:
    values = kl(3)
    values[:, 1] = np.nan
    values[10:20] = np.nan
    figure = kl_per_dimension(STEPS, values)
    named = [line.get_label() for line in drawn(figure.axes[0]) if line.get_label().startswith("z")]
    assert named == ["z0", "z2"]


def test_beta_and_kl_has_two_panels_with_one_step_axis_and_a_dashed_set_point() -> None:
    beta, rate, target = np.linspace(1, 2, 50), kl(1)[:, 0], np.minimum(2, STEPS / 100)
    figure = beta_and_kl((STEPS, beta), (STEPS, rate), (STEPS, target))
    upper, lower = figure.axes
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert np.array_equal(drawn(upper)[0].get_ydata(), beta)
    assert np.array_equal(drawn(lower)[0].get_ydata(), rate)
    assert np.array_equal(drawn(lower)[1].get_ydata(), target)
    assert [line.get_linestyle() for line in drawn(lower)] == ["-", "--"]
    assert lower.get_ylabel() == "KL (nats)" and lower.get_xlabel() == "Step" and not upper.get_xlabel()
    assert "set-point" in words(figure)


def test_a_constant_set_point_goes_all_the_way() -> None:
    lower = beta_and_kl((STEPS, STEPS), (STEPS, STEPS), 18.0).axes[1]
    assert drawn(lower)[1].get_ydata() == [18.0, 18.0]
    assert drawn(lower)[1].get_linestyle() == "--"


@pytest.mark.parametrize(
    ("beta", "scale"),
    [
        ([1.0, 5.0, 10.0], "linear"),
        ([1.0, 5.0, 10.1], "log"),
        ([1e-6, 1.0, 100.0], "log"),
        ([0.0, 0.5, 100.0], "linear"),
        ([float("nan"), 1.0, 100.0], "log"),
        ([float("nan")] * 3, "linear"),
    ],
)
def test_beta_is_logarithmic_when_it_spans_more_than_a_decade(beta: list[float], scale: str) -> None:
    figure = beta_and_kl((STEPS[:3], beta), (STEPS[:3], [1.0, 2.0, 3.0]))
    assert [axes.get_yscale() for axes in figure.axes] == [scale, "linear"]


def test_rate_distortion_is_coloured_by_step_with_both_ends_marked() -> None:
    rate, recon = np.linspace(0, 9, 50), np.linspace(60, 30, 50)
    figure = rate_distortion(STEPS, rate, recon)
    axes, bar = figure.axes
    (path,) = (item for item in axes.collections if isinstance(item, LineCollection))
    segments = np.array(path.get_segments())
    assert np.allclose(segments[:, 0], np.column_stack([rate, recon])[:-1])
    assert np.allclose(segments[:, 1], np.column_stack([rate, recon])[1:])
    assert np.array_equal(np.asarray(path.get_array()), STEPS[:-1] + 5)
    assert (path.norm.vmin, path.norm.vmax) == (0, 490)
    assert [tuple(np.ravel(line.get_xydata())) for line in drawn(axes)] == [(0, 60), (9, 30)]
    assert {"start (step 0)", "end (step 490)"} <= set(words(figure))
    assert axes.get_xlabel() == "Rate: KL (nats)" and axes.get_ylabel() == "Distortion: reconstruction (nats)"
    assert bar.get_ylabel() == "Step"


def test_rate_distortion_leaves_gaps_where_values_are_missing() -> None:
    rate, recon = np.arange(6.0), np.arange(6.0) + 1
    rate[2], recon[3] = np.nan, np.inf
    figure = rate_distortion(STEPS[:6], rate, recon)
    (path,) = (item for item in figure.axes[0].collections if isinstance(item, LineCollection))
    assert [segment[:, 0].tolist() for segment in path.get_segments()] == [[0, 1], [4, 5]]


@pytest.mark.parametrize(("rows", "axes"), [(1, 1), (2, 2)])
def test_rate_distortion_of_few_points(rows: int, axes: int) -> None:
    figure = rate_distortion(STEPS[:rows], [3.0, 4.0][:rows], [50.0, 40.0][:rows])
    assert len(figure.axes) == axes  # a single step has no colour bar
    assert len(drawn(figure.axes[0])) == rows
    assert_all_text_is_on_the_page(figure)


def test_learning_curves_show_both_elbos() -> None:
    train, val = -100 + 0.1 * STEPS, (STEPS[::10], -105 + 0.1 * STEPS[::10])
    figure = learning_curves((STEPS, train), val)
    (axes,) = figure.axes
    assert all(np.array_equal(line.get_ydata(), y) for line, y in zip(drawn(axes), (train, val[1]), strict=True))
    assert [line.get_label() for line in drawn(axes)] == ["training", "validation"]
    assert axes.get_ylabel() == "ELBO (nats)"
    low, high = axes.get_ylim()
    assert low < train.min() and high > train.max()
    assert len(drawn(learning_curves((STEPS, train)).axes[0])) == 1


def test_learning_curves_say_so_when_the_axis_leaves_out_a_transient() -> None:
    train = -50 - 5 * np.exp(-STEPS / 100) - 4000 * np.exp(-STEPS / 2)
    figure = learning_curves((STEPS, train))
    low, high = figure.axes[0].get_ylim()
    assert low > -100 and high > train.max()
    assert any("down to \N{MINUS SIGN}4,055 nats" in word for word in words(figure))


@pytest.mark.parametrize("rows", [1, 2, 50])
@pytest.mark.parametrize("value", [0.5, -1234567.0, float("nan"), float("inf")])
def test_every_curve_copes_with_few_and_missing_values(rows: int, value: float) -> None:
    x, y = STEPS[:rows], np.full(rows, value)
    for figure in (
        kl_per_dimension(x, y[:, None]),
        beta_and_kl((x, y), (x, y), 1.0),
        rate_distortion(x, y, y),
        learning_curves((x, y), (x, y)),
    ):
        assert_all_text_is_on_the_page(figure)
        assert ("no finite values were logged" in words(figure)) == (not np.isfinite(value))


def test_rows_of_different_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`kl` must have one row of dimensions a step \(50\), got shape \(3, 2\)"):
        kl_per_dimension(STEPS, np.zeros((3, 2)))
    with pytest.raises(ConfigError, match=r"\(steps, values\), got \(50,\) and \(3,\)"):
        learning_curves((STEPS, np.zeros(3)))


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(0.01, 10))
def test_spread_keeps_the_order_the_gap_and_the_mean(wanted: list[float], gap: float) -> None:
    found = spread(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(found[order]) >= gap - 1e-9).all()
    assert np.isclose(found.mean(), np.mean(wanted), atol=1e-9)
    if len(wanted) == 1 or np.diff(np.sort(wanted)).min() > gap:
        assert np.allclose(found, wanted)
