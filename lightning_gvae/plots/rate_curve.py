"""Rate-distortion curves by name, with the KL weights written beside their points."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import INK, PALETTE, as_written, canvas, styled

__all__ = ["rate_curves"]

MARKERS = ("o", "s", "^", "D", "v", "P")
MOST_WRITTEN = 9


@styled
def rate_curves(
    curves: Mapping[str, np.ndarray],
    betas: Mapping[str, Sequence[float]],
    title: str,
    used: tuple[float, float] | None = None,
) -> Figure:
    """Curves in the plane of rate and distortion: means over the seeds, crosses from the lowest to the highest.

    Args:
        curves: Curves by name, each ``(S, K, 2)``: rate and distortion in nats of K KL weights and S seeds.
        betas: The K weights of each curve; those of the first are written beside its points.
        title: Headline.
        used: Rate and distortion of a point to ring.

    Raises:
        ConfigError: There are no curves, or an array does not have the shape.
    """
    if not curves or any(np.ndim(c) != 3 or np.shape(c)[1:] != (len(betas[name]), 2) for name, c in curves.items()):
        shapes = {name: np.shape(curve) for name, curve in curves.items()}
        raise ConfigError(f"`curves` must be (seeds, weights, 2) arrays of as many weights as `betas`, got {shapes}")
    figure = canvas(7.2, 4.6)
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(curves.items()):
        mean = points.mean(0)
        reach = np.stack([mean - points.min(0), points.max(0) - mean])
        axes.errorbar(
            mean[:, 0],
            mean[:, 1],
            reach[:, :, 1] if len(points) > 1 else None,
            reach[:, :, 0] if len(points) > 1 else None,
            color=PALETTE[number % len(PALETTE)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4.5,
            elinewidth=0.8,
            label=as_written(name),
        )
    first = next(iter(curves))
    places, weights = curves[first].mean(0), list(betas[first])
    shown = range(0, len(weights), max(1, -(-len(weights) // MOST_WRITTEN)))
    for index in shown:
        axes.annotate(
            f"{weights[index]:.3g}", places[index], xytext=(5, 5), textcoords="offset points", fontsize=8, color=INK
        )
    if used is not None:
        axes.plot(*used, marker="o", markersize=12, markerfacecolor="none", markeredgecolor=INK, linestyle="none")
    axes.set(title=title, xlabel="Rate: KL (nats)", ylabel="Distortion: reconstruction (nats)")
    if len(curves) > 1:
        axes.legend()
    return figure
