"""Errors of several methods over the size of a problem, measured and published."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import PALETTE, canvas, line, styled

__all__ = ["Curve", "error_curves"]

# Sizes, means and standard errors, each (T,); an error of NaN is not drawn.
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


@styled
def error_curves(
    measured: Mapping[str, Curve],
    published: Mapping[str, Curve],
    title: str,
    ylabel: str,
    xlabel: str = "Variables D",
    log: bool = True,
    ticks: Mapping[float, str] | None = None,
) -> Figure:
    """Means with standard errors; the published ones of the same name are dashed, in the same colour.

    Args:
        measured: Methods by name, ``(sizes, means, standard errors)``.
        published: The same for those that were published.
        title: Headline.
        ylabel: With the unit.
        xlabel: What the sizes are.
        log: Logarithmic vertical axis, if all values are positive.
        ticks: Names of the sizes, where they are not numbers.

    Raises:
        ConfigError: There is no method, or a curve does not have as many means and errors as sizes.
    """
    if not measured:
        raise ConfigError("`measured` must hold at least one method")
    for name, (sizes, means, errors) in [*measured.items(), *published.items()]:
        if not np.shape(sizes) == np.shape(means) == np.shape(errors):
            raise ConfigError(
                f"the curve of {name} must have one mean and one error a size, got {np.shape(means)} means"
            )
    figure = canvas(7.6, 4.4)
    axes = figure.add_subplot()
    values = []
    for number, (name, (sizes, means, errors)) in enumerate(measured.items()):
        colour = PALETTE[number % len(PALETTE)]
        line(axes, np.asarray(sizes, float), np.asarray(means, float), colour, label=name)
        known = np.isfinite(errors)
        axes.errorbar(
            np.asarray(sizes)[known],
            np.asarray(means)[known],
            np.asarray(errors)[known],
            fmt="none",
            ecolor=colour,
            capsize=2.5,
            linewidth=1,
        )
        values.append(np.asarray(means, float))
        if name in published:
            sizes, means, errors = published[name]
            axes.plot(
                sizes,
                means,
                color=colour,
                linestyle=(0, (3, 2)),
                marker="o",
                markersize=4.5,
                markerfacecolor="white",
                linewidth=1.1,
                label=f"{name}, published",
            )
            values.append(np.asarray(means, float))
    finite = np.concatenate(values)
    if log and (finite[np.isfinite(finite)] > 0).all():
        axes.set_yscale("log")
    if ticks is not None:
        axes.set_xticks(list(ticks), labels=list(ticks.values()))
    else:
        axes.set_xticks(sorted({float(size) for curve in measured.values() for size in curve[0]}))
    axes.set(title=title, ylabel=ylabel, xlabel=xlabel)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
