import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lightning_gvae.plots.style import DPI, canvas, line, save, styled


@styled
def drawing() -> Figure:
    figure = canvas(4, 3)
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def test_a_figure_does_not_depend_on_the_users_settings_and_leaves_them_alone(tmp_path: Path) -> None:
    save(drawing(), tmp_path / "a.png")
    settings: Any = {"font.size": 25, "axes.facecolor": "red", "xtick.direction": "in", "lines.linewidth": 9}
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        save(drawing(), tmp_path / "b.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_is_not_involved() -> None:
    had = "matplotlib.pyplot" in sys.modules
    drawing()
    assert had or "matplotlib.pyplot" not in sys.modules
    if had:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_save_writes_the_size_in_inches_times_dots(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.png"
    save(drawing(), path)
    with Image.open(path) as image:
        assert image.size == (4 * DPI, 3 * DPI)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("values", "marked"),
    [
        ([1.0], [0]),
        ([1.0, 2.0], [0, 1]),
        ([float("nan")] * 3, []),
        ([1.0] * 20, []),
        ([1.0] * 15 + [float("nan"), 5.0, float("nan")] + [1.0] * 2, [16]),
        ([5.0, float("nan")] + [1.0] * 15, [0]),
    ],
)
def test_points_that_a_line_would_hide_get_a_marker(values: list[float], marked: list[int]) -> None:
    axes = canvas(3, 2).add_subplot()
    line(axes, np.arange(len(values)), np.array(values), "black")
    (drawn,) = axes.get_lines()
    assert (drawn.get_markevery() or []) == marked
    assert drawn.get_marker() == ("o" if marked else "None")
