"""Curves over generations, with bands and closed forms."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import INK, PALETTE, canvas, line, styled

__all__ = ["Band", "band_panels"]

COLUMNS = 3


class Band(NamedTuple):
    """One curve of a panel.

    Attributes:
        label: Name in the legend; the same name has the same colour in all panels.
        x: Positions, ``(T,)``.
        mean: Values, ``(T,)``.
        low: Lower end of the band, ``(T,)``.
        high: Upper end of the band, ``(T,)``.
        theory: What the mean should be, ``(T,)``; None where nothing is known.
    """

    label: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    theory: np.ndarray | None = None


@styled
def band_panels(
    panels: Mapping[str, Sequence[Band]],
    title: str,
    xlabel: str,
    log_x: bool = False,
    log_y: Sequence[str] = (),
    theory_label: str = "closed form",
) -> Figure:
    """A panel for each entry: means with bands, closed forms as dashed lines over them, one legend for all.

    Args:
        panels: Curves by headline of their panel.
        title: Headline of the figure.
        xlabel: Of all horizontal axes.
        log_x: Logarithmic horizontal axes.
        log_y: Panels with a logarithmic vertical axis, if all that they show is positive.
        theory_label: Of the dashed lines.

    Raises:
        ConfigError: There is no panel, or a curve's arrays have different lengths.
    """
    if not panels or not all(panels.values()):
        raise ConfigError("`panels` must hold at least one panel, and every panel at least one curve")
    for name, curves in panels.items():
        for curve in curves:
            arrays = [curve.x, curve.mean, curve.low, curve.high, *([] if curve.theory is None else [curve.theory])]
            if len({np.shape(array) for array in arrays}) != 1:
                raise ConfigError(f"the curve {curve.label} of {name} must have arrays of one length")
    labels = list(dict.fromkeys(curve.label for curves in panels.values() for curve in curves))
    colours = {label: PALETTE[number % len(PALETTE)] for number, label in enumerate(labels)}
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = canvas(3.3 * columns + 0.4, 2.5 * rows + 1.0)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, curves) in zip(places, panels.items(), strict=False):
        _panel(axes, curves, colours)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(xlabel)
        if log_x:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if name in log_y and all((curve.low > 0).all() for curve in curves):
            axes.set_yscale("log")
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], color=colours[label], label=label) for label in labels]
    if any(curve.theory is not None for curves in panels.values() for curve in curves):
        handles.append(Line2D([], [], color=INK, linestyle=(0, (3, 2)), linewidth=1, label=theory_label))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 2 * columns))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _panel(axes: Axes, curves: Sequence[Band], colours: Mapping[str, str]) -> None:
    for curve in curves:
        colour = colours[curve.label]
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
        line(axes, np.asarray(curve.x, float), np.asarray(curve.mean, float), colour)
    for curve in curves:
        if curve.theory is not None:
            axes.plot(curve.x, curve.theory, color=INK, linestyle=(0, (3, 2)), linewidth=1, zorder=4)
