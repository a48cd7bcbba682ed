"""Ratios of two methods, repeat by repeat."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import INK, MUTED, PALETTE, canvas, styled

__all__ = ["paired_ratios"]


@styled
def paired_ratios(ratios: Mapping[str, np.ndarray], title: str, label: str) -> Figure:
    """One dot a repeat, and the mean with its 95 % interval; a dashed line at 1.

    Args:
        ratios: Groups by name, each ``(R,)``.
        title: Headline.
        label: Of the vertical axis.

    Raises:
        ConfigError: There is no group, or an empty one.
    """
    if not ratios or not all(len(values) for values in ratios.values()):
        raise ConfigError("`ratios` must hold at least one group, each with at least one repeat")
    figure = canvas(1.4 + 1.5 * len(ratios), 3.6)
    axes = figure.add_subplot()
    for place, values in enumerate(ratios.values()):
        # Side by side instead of at random: a figure is the same each time.
        spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(place + spread, values, "o", color=PALETTE[0], markersize=4, alpha=0.6, markeredgewidth=0)
        mean = float(values.mean())
        half = 0.0
        if len(values) > 1:
            half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        axes.errorbar(place + 0.25, mean, half, fmt="s", color=INK, markersize=5, capsize=4)
    axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xticks(range(len(ratios)), [name.capitalize() for name in ratios])
    axes.set_xlim(-0.5, len(ratios) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set(title=title, ylabel=label)
    return figure
