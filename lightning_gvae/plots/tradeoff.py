"""Trade-off between two qualities: methods as points with intervals, joined in the order of their setting."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import PALETTE, canvas, styled

__all__ = ["tradeoff"]

MARKERS = ("o", "s", "^", "D")


@styled
def tradeoff(
    across: np.ndarray,
    costs: Mapping[str, np.ndarray],
    names: Sequence[str],
    title: str,
    labels: tuple[str, str],
) -> Figure:
    """Means over the seeds, with a cross from the lowest to the highest seed, the settings joined in order.

    Args:
        across: What is wanted, ``(K, S)``: K settings, S seeds.
        costs: What it costs, by name, each ``(K, S)``.
        names: Of the K settings, written beside the points of the first cost.
        title: Headline.
        labels: Of the horizontal and the vertical axis.

    Raises:
        ConfigError: The arrays do not belong together.
    """
    if (
        across.ndim != 2
        or len(names) != len(across)
        or not costs
        or any(c.shape != across.shape for c in costs.values())
    ):
        raise ConfigError(
            f"`across` and each of `costs` must be (K, S) with K names, got {across.shape} and {len(names)}"
        )
    figure = canvas(7.2, 4.4)
    axes = figure.add_subplot()
    x = across.mean(1)
    x_reach = np.stack([x - across.min(1), across.max(1) - x])
    for number, (name, values) in enumerate(costs.items()):
        y = values.mean(1)
        y_reach = np.stack([y - values.min(1), values.max(1) - y])
        colour = PALETTE[number % len(PALETTE)]
        marker = MARKERS[number % len(MARKERS)]
        axes.errorbar(x, y, y_reach, x_reach, color=colour, marker=marker, markersize=5, elinewidth=0.8, label=name)
    first = next(iter(costs.values())).mean(1)
    for setting, place, height in zip(names, x, first, strict=True):
        axes.annotate(setting, (place, height), xytext=(5, 6), textcoords="offset points", fontsize=8)
    axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
    figure.legend(loc="outside lower center", ncols=len(costs))
    return figure
