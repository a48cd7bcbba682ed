"""Curves of a game between a generator and a discriminator."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.plots.style import MUTED, PALETTE, canvas, line, step_axis, styled

__all__ = ["game"]

Series = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


@styled
def game(probabilities: Mapping[str, Series], losses: Mapping[str, Series]) -> Figure:
    """What the discriminator believes, above, and what both sides minimise, below.

    Args:
        probabilities: Mean probability of being real by kind of image, ``(steps, values)`` each.
        losses: Losses by name, ``(steps, values)`` each, nats.
    """
    figure = canvas(7.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, curves in ((upper, probabilities), (lower, losses)):
        for (name, (steps, values)), colour in zip(curves.items(), PALETTE, strict=False):
            line(axes, np.asarray(steps, float), np.asarray(values, float), colour, label=name)
        if curves:
            axes.legend(loc="best", ncols=len(curves))
    upper.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
    upper.set(ylabel="Taken for real", ylim=(-0.02, 1.02), title="The game")
    lower.set(ylabel="Loss (nats)")
    step_axis(lower)
    figure.align_ylabels()
    return figure
