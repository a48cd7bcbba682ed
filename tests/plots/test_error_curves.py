import numpy as np
import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.error_curves import error_curves

SIZES = np.array([1.0, 2.0, 3.0])
MEASURED = {"SOLVE": (SIZES, np.array([1.0, 2.0, 0.5]), np.array([0.1, np.nan, 0.1])), "GA": (SIZES, SIZES * 30, SIZES)}
PUBLISHED = {"SOLVE": (SIZES[:2], np.array([1.5, 1.2]), np.full(2, np.nan))}


def test_published_curves_are_dashed_in_the_colour_of_their_method():
    axes = error_curves(MEASURED, PUBLISHED, "Error", "Error (%)").axes[0]
    assert axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert set(lines) == {"SOLVE", "GA", "SOLVE, published"}
    assert lines["SOLVE"].get_color() == lines["SOLVE, published"].get_color() != lines["GA"].get_color()
    np.testing.assert_array_equal(lines["SOLVE, published"].get_ydata(), [1.5, 1.2])
    assert lines["SOLVE, published"].get_linestyle() == "--"
    # an error that is not known is not drawn: two bars of three points
    assert [len(bar.lines[2][0].get_segments()) for bar in axes.containers] == [2, 3]


def test_zero_and_below_have_no_logarithm():
    zero = {"SOLVE": (SIZES, np.array([1.0, 0.0, 0.5]), np.zeros(3))}
    assert error_curves(zero, {}, "t", "y").axes[0].get_yscale() == "linear"
    assert error_curves(MEASURED, {}, "t", "y", log=False).axes[0].get_yscale() == "linear"


def test_sizes_may_have_names():
    axes = error_curves(MEASURED, {}, "t", "y", ticks={1: "12", 2: "123", 3: "1234"}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["12", "123", "1234"]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="`measured` must hold at least one method"):
        error_curves({}, {}, "t", "y")
    with pytest.raises(ConfigError, match="the curve of GA must have one mean and one error a size"):
        error_curves({"GA": (SIZES, SIZES[:2], SIZES)}, {}, "t", "y")
