"""Several methods in one figure: curves with the spread over seeds, and end points in the rate-distortion plane."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import INK, MUTED, PALETTE, canvas, line, step_axis, styled

__all__ = ["end_points", "information_plane", "method_bars", "method_curves"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CURVE_STYLES = ("-", (0, (1, 1)), (0, (5, 2)))
WIDTH = 7.2

Runs = Mapping[str, list[tuple[np.ndarray, np.ndarray]]]


@styled
def method_curves(runs: Runs, title: str, label: str, target: float | None = None, log: bool = False) -> Figure:
    """Mean over the seeds of each method, and a band from the lowest to the highest.

    Runs that stop at different steps are averaged where all of a method have a value.

    Args:
        runs: Methods by name, each a list of ``(steps (T,), values (T,))``, one a seed.
        title: Headline.
        label: Of the vertical axis, with the unit.
        target: Value to mark by a dashed line.
        log: Logarithmic vertical axis.

    Raises:
        ConfigError: There are no runs, or a method has none.
    """
    if not runs or not all(runs.values()):
        raise ConfigError("`runs` must hold at least one run of every method")
    figure = canvas(WIDTH, 4.4)
    axes = figure.add_subplot()
    for number, (name, curves) in enumerate(runs.items()):
        steps = np.unique(np.concatenate([steps for steps, _ in curves]))
        steps = steps[(steps >= max(s[0] for s, _ in curves)) & (steps <= min(s[-1] for s, _ in curves))]
        values = np.stack([np.interp(steps, *curve) for curve in curves])
        colour = PALETTE[number % len(PALETTE)]
        style = "-" if number < len(PALETTE) else "--"
        line(axes, steps, values.mean(0), colour, label=name, linestyle=style)
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    if target is not None:
        axes.axhline(target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    if log:
        axes.set_yscale("log")
    axes.set(title=title, ylabel=label)
    step_axis(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def end_points(
    points: Mapping[str, np.ndarray], target: float | None = None, curves: Mapping[str, np.ndarray] | None = None
) -> Figure:
    """End points of the runs of each method in the plane of rate and distortion.

    Args:
        points: Methods by name, each ``(S, 2)``: rate and distortion in nats, one row a seed.
        target: Rate to mark by a dashed line.
        curves: Rate-distortion curves by name, each ``(T, 2)``.

    Raises:
        ConfigError: There are no points, or not two columns of them.
    """
    if not points or any(np.ndim(rows) != 2 or np.shape(rows)[1] != 2 for rows in points.values()):
        raise ConfigError("`points` must hold (rate, distortion) rows of every method")
    figure = canvas(WIDTH, 4.4)
    axes = figure.add_subplot()
    for number, (name, rows) in enumerate(points.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        axes.scatter(rows[:, 0], rows[:, 1], color=colour, marker=marker, s=34, label=name, alpha=0.85, linewidth=0)
    for number, (name, rows) in enumerate((curves or {}).items()):
        style = CURVE_STYLES[number % len(CURVE_STYLES)]
        rate, distortion = rows[np.argsort(rows[:, 0])].T
        axes.plot(rate, distortion, color=MUTED, linestyle=style, linewidth=1.1, zorder=1, label=name)
    if target is not None:
        axes.axvline(target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlabel="Rate: KL (nats)", ylabel="Distortion: reconstruction (nats)", title="End of training, test set")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def information_plane(paths: Mapping[str, np.ndarray], target: float | None = None) -> Figure:
    """Ways of several methods through the plane of rate and distortion while they train.

    Args:
        paths: Methods by name, each ``(T, 2)``: rate and distortion in nats, in the order of training.
        target: Rate to mark by a dashed line.

    Raises:
        ConfigError: There are no paths, or not two columns of them.
    """
    if not paths or any(np.ndim(rows) != 2 or np.shape(rows)[1] != 2 for rows in paths.values()):
        raise ConfigError("`paths` must hold (rate, distortion) rows of every method")
    figure = canvas(WIDTH, 4.4)
    axes = figure.add_subplot()
    for number, (name, rows) in enumerate(paths.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        axes.plot(*rows.T, color=colour, linewidth=1.0, alpha=0.7)
        axes.scatter(rows[-1, 0], rows[-1, 1], color=colour, marker=marker, s=40, label=name, zorder=3)
    if target is not None:
        axes.axvline(target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    title = "Over training, validation images"
    axes.set(xlabel="Rate: KL (nats)", ylabel="Distortion: reconstruction (nats)", title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def method_bars(values: Mapping[str, np.ndarray], title: str, label: str, unit: str) -> Figure:
    """Groups of bars: the mean over the seeds of each method, with a line from the lowest to the highest.

    Args:
        values: Methods by name, each ``(S, N)``: one row a seed, one column a group.
        title: Headline.
        label: Of the groups.
        unit: Of the vertical axis.

    Raises:
        ConfigError: There are no values, or the methods have different numbers of groups.
    """
    if not values or len({np.shape(rows)[1:] for rows in values.values()}) != 1:
        raise ConfigError("`values` must hold rows of the same length for every method")
    figure = canvas(WIDTH, 4.4)
    axes = figure.add_subplot()
    width = 0.84 / len(values)
    for number, (name, rows) in enumerate(values.items()):
        mean = rows.mean(0)
        places = np.arange(len(mean)) + (number - (len(values) - 1) / 2) * width
        colour = PALETTE[number % len(PALETTE)]
        hatch = None if number < len(PALETTE) else "////"
        edge = "white" if hatch else colour
        axes.bar(places, mean, width, color=colour, label=name, hatch=hatch, edgecolor=edge, linewidth=0)
        spread = np.stack([mean - rows.min(0), rows.max(0) - mean])
        axes.errorbar(places, mean, spread, fmt="none", ecolor=INK, elinewidth=0.6)
    groups = np.arange(len(mean))
    axes.set_xticks(groups, [str(group + 1) for group in groups])
    axes.grid(axis="x", visible=False)
    axes.set(title=title, xlabel=label, ylabel=unit)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
