"""Genes over the steps of a run: what was tried, and what was trained with."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.curves import log_axis
from lightning_gvae.plots.style import MUTED, PALETTE, as_written, canvas, step_axis, styled

__all__ = ["gene_paths"]

PANEL = 1.9  # inches


@styled
def gene_paths(
    names: Sequence[str],
    steps: np.ndarray,
    values: np.ndarray,
    chosen: np.ndarray,
    scales: Sequence[str],
) -> Figure:
    """A panel for each gene: all candidates as faint dots, the ones trained on with as a staircase.

    Args:
        names: Of the genes, ``(d,)``.
        steps: Optimiser steps done when a candidate was tried, ``(P,)``, ascending.
        values: Candidates, ``(P, d)``.
        chosen: Which of them training went on with, bool ``(P,)``.
        scales: Of the genes' axes, ``"log"`` or ``"linear"``.

    Raises:
        ConfigError: The arrays do not belong together.
    """
    if values.shape != (len(steps), len(names)) or len(chosen) != len(steps) or len(scales) != len(names):
        raise ConfigError(
            f"`values` must have a row for each of {len(steps)} candidates and a column for each of {len(names)} "
            f"genes, got shape {values.shape}"
        )
    figure = canvas(7.2, 0.8 + PANEL * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, name, scale) in enumerate(zip(panels, names, scales, strict=True)):
        axes.plot(steps, values[:, number], ".", color=MUTED, alpha=0.35, markersize=3, label="candidates")
        colour = PALETTE[number % len(PALETTE)]
        axes.step(steps[chosen], values[chosen, number], where="post", color=colour, label="in force")
        if scale == "log":
            log_axis(axes)
        axes.set_ylabel(as_written(name))
    panels[0].set_title("Genes")
    if len(steps):
        panels[0].legend(loc="upper right", ncols=2)
    step_axis(panels[-1])
    return figure
