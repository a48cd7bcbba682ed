"""One look for all figures, without matplotlib's global state."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, ParamSpec

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from lightning_gvae.io.files import replace_file

__all__ = ["DPI", "INK", "MUTED", "PALETTE", "as_written", "canvas", "line", "save", "step_axis", "styled"]

P = ParamSpec("P")

DPI = 144
INK, MUTED, FAINT = "#222222", "#6b6b6b", "#dddddd"

# Okabe and Ito, Color Universal Design, 2008, without the yellow that vanishes on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

LOOK: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
# Matplotlib's own defaults first: what the user has set otherwise must not shine through.
STYLE: Any = ["default", LOOK]


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a plot function in the house style and lay its figure out before the style is left again."""

    @functools.wraps(plot)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style.context(STYLE):
            figure = plot(*args, **kwargs)
            # Matplotlib makes ticks when it first draws; later it would take them from the user's settings.
            figure.draw_without_rendering()
        return figure

    return wrapper


def as_written(text: str) -> str:
    """Name that a user chose, so that matplotlib takes no dollar for mathematics and no name out of legends."""
    return ("\N{HAIR SPACE}" if text.startswith("_") else "") + text.replace("$", r"\$")


def canvas(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Empty figure with an Agg canvas; width and height in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(w_pad=0.1, h_pad=0.1)
    return figure


def line(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str | None = None, **kwargs: Any) -> None:
    """Curve that shows every finite value: few points and points between gaps get a marker."""
    finite = np.isfinite(y)
    padded = np.concatenate([[False], finite, [False]])
    alone = finite & ~padded[:-2] & ~padded[2:]
    marked = np.flatnonzero(finite if finite.sum() <= 12 else alone)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.5, "markevery": marked.tolist()} if marked.size else {}
    axes.plot(x, y, color=colour, label=label, **marker, **kwargs)


def step_axis(axes: Axes) -> None:
    """Label the x axis as training steps, with whole numbers only."""
    axes.set_xlabel("Step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure as PNG (or whatever the suffix says), whole or not at all."""
    with style.context(STYLE):
        replace_file(Path(path), lambda beside: figure.savefig(beside, dpi=DPI, metadata={"Software": None}))
