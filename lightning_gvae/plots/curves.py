"""Curves over training: KL per dimension, the KL weight, the rate-distortion path and the learning curves."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullFormatter, StrMethodFormatter

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import INK, MUTED, PALETTE, canvas, line, step_axis, styled

__all__ = ["beta_and_kl", "kl_per_dimension", "learning_curves", "log_axis", "rate_distortion", "spread"]

Series = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]

WIDTH = 7.2
NO_VALUES = "no finite values were logged"
FAINT_LINE = "#b8b8b8"


@styled
def kl_per_dimension(steps: Sequence[float] | np.ndarray, kl: Sequence[Sequence[float]] | np.ndarray) -> Figure:
    """KL of each latent dimension over the steps.

    The dimensions that end with the largest KL are coloured and named at the right; the others are grey.

    Args:
        steps: ``(T,)``.
        kl: ``(T, Z)``, nats, NaN where nothing was logged.

    Raises:
        ConfigError: ``kl`` does not have one row a step.
    """
    x, values = np.asarray(steps, float), np.asarray(kl, float)
    if values.ndim != 2 or len(values) != len(x):
        raise ConfigError(f"`kl` must have one row of dimensions a step ({len(x)}), got shape {values.shape}.")
    figure = canvas(WIDTH, 4.2)
    axes = figure.add_subplot()
    last = np.array([_last(column) for column in values.T])
    order = np.argsort(-np.nan_to_num(last, nan=-np.inf), kind="stable")
    named = [int(index) for index in order[: len(PALETTE)] if np.isfinite(last[index])]
    rest = [int(index) for index in order if int(index) not in named]
    for index in rest:
        line(axes, x, values[:, index], FAINT_LINE, linewidth=0.9)
    for colour, index in zip(PALETTE, named, strict=False):
        line(axes, x, values[:, index], colour, label=f"z{index}", zorder=3)
    axes.set_ylabel("KL (nats)")
    axes.set_title("KL per latent dimension")
    _finish(axes, values)
    _name_ends(axes, [(f"z{index}", last[index], colour) for colour, index in zip(PALETTE, named, strict=False)])
    if rest and named:
        label = f"{len(rest)} other dimension{'s' if len(rest) != 1 else ''}"
        axes.plot([], [], color=FAINT_LINE, linewidth=0.9, label=label)
        axes.legend(handles=axes.get_lines()[-1:], loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figure


@styled
def beta_and_kl(beta: Series, kl: Series, target: Series | float | None = None) -> Figure:
    """KL weight above, KL below, on one step axis.

    Args:
        beta: ``(steps, values)``; drawn on a log axis when all values are positive and span more than a decade.
        kl: ``(steps, values)``, nats.
        target: Set-point of the KL, nats: one number, or ``(steps, values)``; dashed.
    """
    figure = canvas(WIDTH, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True)
    weights, rates = _arrays(beta), _arrays(kl)
    line(upper, *weights, PALETTE[0])
    line(lower, *rates, PALETTE[2])
    if spans_a_decade(weights[1]):
        log_axis(upper)
    upper.set(ylabel=r"$\beta$", title="KL weight and KL")
    lower.set(ylabel="KL (nats)")
    if isinstance(target, tuple):
        line(lower, *_arrays(target), PALETTE[1], label="set-point", linestyle="--")
    elif target is not None:
        lower.axhline(target, color=PALETTE[1], linestyle="--", label="set-point")
    if target is not None:
        lower.legend(loc="best")
    _finish(upper, weights[1])
    _finish(lower, rates[1])
    upper.set_xlabel("")
    figure.align_ylabels()
    return figure


@styled
def rate_distortion(
    steps: Sequence[float] | np.ndarray, kl: Sequence[float] | np.ndarray, recon: Sequence[float] | np.ndarray
) -> Figure:
    """Path of training in the plane of rate and distortion, coloured by step.

    Args:
        steps: ``(T,)``.
        kl: Rate, ``(T,)``, nats.
        recon: Distortion, ``(T,)``, nats; on a log axis when it spans more than a decade.
    """
    t, x, y = np.asarray(steps, float), np.asarray(kl, float), np.asarray(recon, float)
    known = np.isfinite(x) & np.isfinite(y)
    figure = canvas(WIDTH, 4.6)
    axes = figure.add_subplot()
    axes.set(xlabel="Rate: KL (nats)", ylabel="Distortion: reconstruction (nats)", title="Path of training")
    if spans_a_decade(y[known]):
        log_axis(axes)
    _finish(axes, x[known], steps=False)
    if not known.any():
        return figure
    points = np.column_stack([x, y])
    pairs = known[:-1] & known[1:]
    segments = np.stack([points[:-1], points[1:]], axis=1)[pairs]
    first, last = t[known][0], t[known][-1]
    norm = Normalize(first, last if last > first else first + 1)
    path = LineCollection(list(segments), cmap="viridis", norm=norm, linewidth=2, capstyle="round")
    path.set_array((t[:-1] + t[1:])[pairs] / 2)
    axes.add_collection(path)
    # The points make lone ones visible and set the limits, which a collection of lines does not.
    axes.scatter(x[known], y[known], c=t[known], cmap="viridis", norm=norm, s=9, linewidth=0, zorder=3)
    _mark_ends(axes, points[known], (first, last))
    axes.margins(0.08)
    if last == first:
        return figure
    bar = figure.colorbar(
        path, ax=axes, pad=0.02, aspect=30, ticks=MaxNLocator(6, integer=True), format=StrMethodFormatter("{x:,.0f}")
    )
    bar.outline.set_visible(False)
    bar.set_label("Step")
    return figure


@styled
def learning_curves(train: Series, val: Series | None = None) -> Figure:
    """ELBO of the training and the validation data; higher is better.

    A short transient at the start would flatten all that follows; if so, the axis begins below the later values and a
    line in the plot says how far down the first ones go.

    Args:
        train: ``(steps, values)``, nats.
        val: ``(steps, values)``, nats.
    """
    figure = canvas(WIDTH, 4.2)
    axes = figure.add_subplot()
    curves = {"training": _arrays(train)} | ({} if val is None else {"validation": _arrays(val)})
    for colour, (label, (x, y)) in zip(PALETTE, curves.items(), strict=False):
        line(axes, x, y, colour, label=label)
    axes.set(ylabel="ELBO (nats)", title="Learning curves")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
    everything = np.concatenate([y for _, y in curves.values()])
    _finish(axes, everything)
    _leave_out_transient(axes, everything[np.isfinite(everything)])
    axes.legend(loc="lower right")
    return figure


def spans_a_decade(values: np.ndarray) -> bool:
    """Whether finite values are all positive and the largest is more than ten times the smallest.

    >>> spans_a_decade(np.array([0.1, 2.0])), spans_a_decade(np.array([0.0, 2.0]))
    (True, False)
    """
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 10 * finite.min())


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Positions near the wanted ones, in their order, at least ``gap`` apart (least squares, pool adjacent violators).

    >>> spread([0.0, 0.0, 5.0], 1.0).tolist()
    [-0.5, 0.5, 5.0]
    """
    order = np.argsort(wanted, kind="stable")
    # With the gaps taken out, "at least `gap` apart" becomes "not decreasing".
    targets = np.asarray(wanted, float)[order] - gap * np.arange(len(order))
    pools: list[list[float]] = []
    for target in targets:
        pools.append([target])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    positions = np.empty(len(order))
    positions[order] = np.concatenate([[np.mean(pool)] * len(pool) for pool in pools] or [[]]) + gap * np.arange(
        len(order)
    )
    return positions


def _arrays(series: Series) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(series[0], float), np.asarray(series[1], float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ConfigError(f"a series must be two rows of equal length (steps, values), got {x.shape} and {y.shape}.")
    return x, y


def _last(column: np.ndarray) -> float:
    finite = column[np.isfinite(column)]
    return float(finite[-1]) if finite.size else float("nan")


def _finish(axes: Axes, values: np.ndarray, steps: bool = True) -> None:
    if steps:
        step_axis(axes)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, NO_VALUES, transform=axes.transAxes, ha="center", va="center", color=MUTED)
        axes.set_yticks([])


class _PlainLogFormatter(LogFormatter):
    """Writes 0.6 where matplotlib writes 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, with numbers one can read."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 1000:
        # A few decades: name the halves too, as numbers one can read.
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(2, 0.5)))
    else:
        axes.yaxis.set_minor_formatter(NullFormatter())


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    for (name, value, colour), y in zip(ends, spread([end for _, end, _ in ends], gap), strict=True):
        axes.annotate(
            f"{name}  {value:.2f}",
            (1.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def _mark_ends(axes: Axes, points: np.ndarray, steps: tuple[float, float]) -> None:
    marks = [("start", points[0], steps[0], "white"), ("end", points[-1], steps[1], INK)]
    for name, point, step, fill in marks if len(points) > 1 else marks[1:]:
        axes.plot(*point, marker="o", markersize=8, markerfacecolor=fill, markeredgecolor=INK, zorder=4)
        right = len(points) > 1 and point[0] > np.mean([points[:, 0].min(), points[:, 0].max()])
        axes.annotate(
            f"{name} (step {step:,.0f})",
            point,
            xytext=(-9 if right else 9, -12 if name == "end" else 7),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=9,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def _leave_out_transient(axes: Axes, values: np.ndarray) -> None:
    if values.size < 20:
        return
    low, high = np.quantile(values, 0.1), values.max()
    if not high > low or values.min() >= high - 10 * (high - low):
        return
    axes.set_ylim(high - 1.5 * (high - low), high + 0.1 * (high - low))
    lowest = f"{values.min():,.0f}".replace("-", "\N{MINUS SIGN}")
    note = f"the first values lie below the axis, down to {lowest} nats"
    axes.text(1, 1.02, note, transform=axes.transAxes, ha="right", va="bottom", color=MUTED, fontsize=8.5)
