"""Curves of a game between a generator and a discriminator, and the scores of several models."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import MUTED, PALETTE, canvas, line, step_axis, styled

__all__ = ["game", "score_dots"]

Series = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


@styled
def game(probabilities: Mapping[str, Series], losses: Mapping[str, Series]) -> Figure:
    """Beliefs of the discriminator, above, and the losses of both sides, below.

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


@styled
def score_dots(scores: Mapping[str, Mapping[str, Sequence[float]]], title: str, log: Sequence[str] = ()) -> Figure:
    """One panel a score, one row a model, one dot a seed and a bar at their mean.

    Args:
        scores: Scores by name, each with models by name, each with one value a seed. All have the same models.
        title: Headline.
        log: Scores on a logarithmic axis.

    Raises:
        ConfigError: There is no score, or two have different models.
    """
    rows = [tuple(models) for models in scores.values()]
    if not rows or not rows[0] or len(set(rows)) > 1:
        raise ConfigError("`scores` must hold at least one score, and all scores the same models")
    models = rows[0]
    figure = canvas(2.2 + 2.1 * len(scores), 0.9 + 0.34 * len(models))
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, scores.items(), strict=True):
        for row, model in enumerate(models):
            numbers, colour = np.asarray(values[model], float), PALETTE[row % len(PALETTE)]
            axes.scatter(numbers, np.full(len(numbers), row), color=colour, s=26, alpha=0.75, linewidth=0, zorder=3)
            axes.plot([numbers.mean()] * 2, [row - 0.28, row + 0.28], color=colour, linewidth=1.6)
        if name in log:
            axes.set_xscale("log")
        axes.set(xlabel=name, ylim=(len(models) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(models)), labels=list(models))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure
