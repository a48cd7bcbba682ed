"""Plots of the lab, narrow enough to be read on a phone."""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_gvae.app.service.classes import ClassCounts
from lightning_gvae.app.service.gaussian_lab import GaussianLab
from lightning_gvae.app.service.generations import StoredChain
from lightning_gvae.app.service.posterior import PosteriorView
from lightning_gvae.plots import images as plots
from lightning_gvae.plots.style import INK, MUTED, PALETTE, as_written, canvas, line, styled

__all__ = [
    "class_bars",
    "fitted_densities",
    "latent_histograms",
    "latent_plane",
    "metric_lines",
    "pairs",
    "traversal_table",
    "variance_lines",
]

P = ParamSpec("P")
Picture = npt.NDArray[np.uint8]

WIDTH = 5.0  # inches: at 350 dots wide the text of a figure is still 10 dots high
SHOWN_FIRST = ("fid", "recall", "precision", "log_feature_trace", "class_entropy", "elbo")

# The house style is set in matplotlib's global settings while a figure is drawn: one thread at a time.
_DRAWING = threading.Lock()


def drawn(plot: Callable[P, Figure]) -> Callable[P, Picture]:
    """Let a plot function return pixels ``(H, W, 3)``, and only one of them run at a time."""

    @functools.wraps(plot)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Picture:
        with _DRAWING:
            figure = plot(*args, **kwargs)
            figure.canvas.draw()
            return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]

    return wrapper


@drawn
def pairs(originals: npt.NDArray[np.uint8], decoded: npt.NDArray[np.uint8]) -> Figure:
    """Originals above their reconstructions."""
    return plots.reconstructions(originals, decoded)


@drawn
def traversal_table(
    frames: npt.NDArray[np.uint8], dims: Sequence[tuple[int, float]], values: Sequence[float]
) -> Figure:
    """A row a dimension, a column a value; ``frames`` ``(D, V, C, H, W)``, ``dims`` with their KL."""
    numbers, kl = [number for number, _ in dims], [value for _, value in dims]
    if np.isnan(kl).all():
        rows = [(f"z{number}", row) for number, row in zip(numbers, frames, strict=True)]
        ends = f"{values[0]:g} to {values[-1]:g}".replace("-", "\N{MINUS SIGN}")
        return plots.contact_sheet(rows, f"Each latent from {ends}")
    return plots.traversals(frames, numbers, kl, values)


@drawn
@styled
def latent_plane(view: PosteriorView) -> Figure:
    """Posterior means on their principal plane, by class, with the prior's circles."""
    figure = canvas(WIDTH, WIDTH)
    axes = figure.add_subplot()
    if view.labels is None:
        axes.scatter(view.plane[:, 0], view.plane[:, 1], s=4, color=PALETTE[0], alpha=0.5, linewidths=0)
    else:
        colours = _ten_colours()
        for number, name in enumerate(view.class_names):
            chosen = view.plane[view.labels == number]
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=5,
                color=colours[number % len(colours)],
                alpha=0.6,
                linewidths=0,
                label=as_written(name),
            )
        axes.legend(ncols=min(5, len(view.class_names)), loc="upper center", bbox_to_anchor=(0.5, -0.14), markerscale=3)
    turn = np.linspace(0, 2 * math.pi, 200)
    for radius in (1, 2, 3):
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=MUTED, linewidth=0.9, linestyle="--")
    axes.set_aspect("equal")
    axes.set_title("Training images in latent space")
    axes.set_xlabel(f"First principal axis ({view.share[0]:.0%} of the variance)")
    axes.set_ylabel(f"Second principal axis ({view.share[1]:.0%})")
    return figure


@drawn
@styled
def latent_histograms(view: PosteriorView) -> Figure:
    """Histogram of draws of the aggregate posterior in each dimension, with the prior's density."""
    count = len(view.dims)
    rows = math.ceil(count / 3)
    figure = canvas(WIDTH, 0.6 + 1.35 * rows)
    grid = np.linspace(-4, 4, 200)
    for position, (dim, kl) in enumerate(view.dims):
        axes = figure.add_subplot(rows, 3, position + 1)
        axes.hist(view.draws[:, position], bins=40, range=(-4, 4), density=True, color=PALETTE[5])
        axes.plot(grid, np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi), color=INK, linewidth=1.2)
        axes.set_title(f"z{dim}: {kl:.1f} nats", fontsize=10, pad=4)
        axes.set_xticks([-3, 0, 3])
        axes.set_yticks([])
        axes.grid(False)
    return figure


@drawn
@styled
def class_bars(counts: ClassCounts) -> Figure:
    """Shares of the classes among samples and real images."""
    figure = canvas(WIDTH, 0.9 + 0.36 * len(counts.names))
    axes = figure.add_subplot()
    made, real = counts.shares
    places = np.arange(len(counts.names))
    axes.barh(places - 0.2, 100 * made, 0.38, color=PALETTE[0], label="samples")
    axes.barh(places + 0.2, 100 * real, 0.38, color=PALETTE[4], label="real images")
    axes.set_yticks(places, labels=counts.names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Share, %")
    axes.set_title("Classes")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


@drawn
@styled
def metric_lines(chain: StoredChain, current: int) -> Figure:
    """Six metrics by generation, the current one marked."""
    known = {name: np.asarray(values, float) for name, values in chain.metrics.items() if np.isfinite(values).any()}
    first = [name for name in SHOWN_FIRST if name in known]
    names = (first + sorted(known.keys() - set(first)))[: len(SHOWN_FIRST)]
    rows = max(1, math.ceil(len(names) / 2))
    figure = canvas(WIDTH, 0.4 + 1.7 * rows)
    for position, name in enumerate(names):
        axes = figure.add_subplot(rows, 2, position + 1)
        line(axes, np.asarray(chain.numbers, float), known[name], PALETTE[0])
        axes.axvline(current, color=PALETTE[1], linewidth=1)
        axes.set_title(name, fontsize=9, pad=4)
        axes.set_xlabel("Generation", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not names:
        figure.text(0.5, 0.5, "This study measured nothing.", ha="center", color=MUTED)
    return figure


@drawn
@styled
def variance_lines(lab: GaussianLab) -> Figure:
    """Fitted variance by generation: mean, typical chain, the middle four fifths of the chains, and theory."""
    figure = canvas(WIDTH, 4.2)
    axes = figure.add_subplot()
    variances = lab.chains.variances
    steps = np.arange(len(variances), dtype=float)
    low, high = np.quantile(variances, [0.1, 0.9], axis=1)
    axes.fill_between(steps, low, high, color=PALETTE[5], alpha=0.35, linewidth=0, label="8 of 10 chains")
    line(axes, steps, lab.chains.variance().value, PALETTE[0], "mean of the chains")
    line(axes, steps, np.exp(lab.chains.log_variance().value), PALETTE[2], "typical chain")
    if lab.theory is not None:
        _dashed(axes, steps, lab.theory.variance, PALETTE[1], "theory: mean")
        if lab.theory.log_variance is not None:
            _dashed(axes, steps, np.exp(lab.theory.log_variance), PALETTE[6], "theory: typical")
    axes.set_yscale("log")
    axes.set_title("What is left of the variance")
    axes.set_xlabel("Generation")
    axes.set_ylabel("Fitted variance (real: 1)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


@drawn
@styled
def fitted_densities(lab: GaussianLab) -> Figure:
    """The real distribution and the fits of the first chain at some generations."""
    figure = canvas(WIDTH, 4.2)
    axes = figure.add_subplot()
    last = len(lab.chains.means) - 1
    shown = sorted({max(1, round(last * part)) for part in (0.05, 0.25, 0.5, 1.0)})
    grid = np.linspace(-4, 4, 600)
    axes.fill_between(grid, _density(grid, 0, 1), color=PALETTE[5], alpha=0.35, linewidth=0, label="real")
    top = 1.0
    for colour, generation in zip(PALETTE, shown, strict=False):
        density = _density(grid, lab.chains.means[generation, 0], lab.chains.variances[generation, 0])
        axes.plot(grid, density, color=colour, label=f"generation {generation}")
        top = max(top, min(4.0, float(density.max())))
    axes.set_ylim(0, 1.05 * top)
    axes.set_title("One chain: what each generation believes")
    axes.set_xlabel("Value")
    axes.set_ylabel("Density")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    return figure


def _density(grid: npt.NDArray[np.float64], mean: float, variance: float) -> npt.NDArray[np.float64]:
    return np.exp(-0.5 * (grid - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


def _dashed(axes: Axes, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], colour: str, label: str) -> None:
    axes.plot(x, y, color=colour, linestyle=(0, (4, 3)), linewidth=1.4, label=label)


def _ten_colours() -> tuple[str, ...]:
    return (*PALETTE[:6], "#7f7f7f", "#8c564b", "#b2a100", "#332288")
