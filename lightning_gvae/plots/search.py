"""Pictures of a latent search: how it went, and what it found."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import TILE, framed, mosaic, pixels, zoom
from lightning_gvae.plots.style import DPI, INK, PALETTE, canvas, styled

__all__ = ["captioned", "search_history"]

GAP = 21  # below an image, in dots: its caption
SIDE = 6  # between two images of a row, in dots

PANELS = {
    "best_objective": ("Objective, minimised", "mean_objective"),
    "best_violation": ("Total violation", "mean_violation"),
    "valid": ("Share of valid individuals", None),
    "diversity": ("Diversity, widths of the box", None),
}


@styled
def search_history(history: Mapping[str, np.ndarray]) -> Figure:
    """Four curves over the generations: median over the runs, and the band from the tenth to the ninetieth percentile.

    Args:
        history: By name of a panel (``best_objective``, ``best_violation``, ``valid``, ``diversity``) and
            ``mean_objective`` and ``mean_violation`` (means over the population), ``(G + 1, R)``; NaN where a run took
            no part any more.
    """
    figure = canvas(8.0, 5.2)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (name, (title, mean)) in zip(panels.flat, PANELS.items(), strict=True):
        series = [(name, PALETTE[0], "best")] + ([(mean, PALETTE[1], "mean of the population")] if mean else [])
        shown = [values for key, colour, label in series if (values := _band(axes, history[key], colour, label)).size]
        axes.set_title(title)
        _scale(axes, shown)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(series) > 1:
            axes.legend()
    for axes in panels[1]:
        axes.set_xlabel("Generation")
    return figure


@styled
def captioned(
    images: np.ndarray,
    captions: Sequence[str],
    title: str,
    columns: int,
    muted: Sequence[bool] | None = None,
) -> Figure:
    """Images in rows, each with a caption below it.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        captions: One an image; a line break makes two lines.
        title: Title of the picture.
        columns: Images a row.
        muted: Which captions are printed in orange, because the image does not meet the criteria.

    Raises:
        ConfigError: there are not as many captions as images.
    """
    if len(captions) != len(images):
        raise ConfigError(f"`captions` must be one an image, got {len(captions)} for {len(images)}")
    columns = min(columns, len(images))
    rows, lines = math.ceil(len(images) / columns), max(caption.count("\n") + 1 for caption in captions)
    small = pixels(images)
    tiles = framed(small, zoom(small.shape[1], small.shape[2], TILE if columns <= 8 else 2 * TILE // 3))
    _, height, width, _ = tiles.shape
    below = GAP * lines
    padded = np.pad(tiles, ((0, 0), (0, below), (0, SIDE), (0, 0)), constant_values=255)
    board = mosaic(padded, rows, columns, gap=0)
    pad, top = round(0.12 * DPI), round(0.32 * DPI)
    total_width, total_height = board.shape[1] + 2 * pad, board.shape[0] + top + pad
    figure = canvas(max(total_width, round(0.095 * DPI * len(title))) / DPI, total_height / DPI, layout=None)
    across = figure.get_size_inches()[0] * DPI
    axes = figure.add_axes(
        (pad / across, pad / total_height, board.shape[1] / across, board.shape[0] / total_height), frameon=False
    )
    axes.imshow(board, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    axes.set_title(title, pad=7)
    for index, caption in enumerate(captions):
        x = (index % columns) * (width + SIDE) + width / 2
        y = (index // columns) * (height + below) + height + 3
        colour = PALETTE[1] if muted is not None and muted[index] else INK
        axes.text(x, y, caption, ha="center", va="top", fontsize=8, color=colour, linespacing=1.1)
    return figure


def _band(axes: Axes, values: np.ndarray, colour: str, label: str) -> np.ndarray:
    """Draw median and band; returns the finite values."""
    present = np.isfinite(values).any(axis=1)
    generations, rows = np.flatnonzero(present), np.where(np.isfinite(values), values, np.nan)[present]
    if not len(rows):
        return np.empty(0)
    low, middle, high = np.nanquantile(rows, [0.1, 0.5, 0.9], axis=1)
    axes.plot(generations, middle, color=colour, label=label)
    if values.shape[1] > 1:
        axes.fill_between(generations, low, high, color=colour, alpha=0.2, linewidth=0)
    return middle


def _scale(axes: Axes, shown: Sequence[np.ndarray]) -> None:
    """Logarithmic where positive values span more than two decades."""
    values = np.concatenate([*shown, np.empty(0)])
    if len(values) and values.min() > 0 and values.max() / values.min() > 100:
        axes.set_yscale("log")
