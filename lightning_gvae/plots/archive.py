"""Pictures of an archive: objective by descriptors, a mosaic of its elites, and how it filled."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import framed, mosaic, pixels, zoom
from lightning_gvae.plots.style import DPI, PALETTE, canvas, line, styled

__all__ = ["archive_history", "elite_mosaic", "heat_maps"]

EDGE = 44  # wanted edge of an image of the mosaic, in dots
MARGIN = (0.75, 0.2, 0.55, 0.45)  # inches left, right, below, above the mosaic

Ranges = Sequence[Sequence[float]]


@styled
def heat_maps(panels: Mapping[str, np.ndarray], names: Sequence[str], ranges: Ranges, label: str) -> Figure:
    """Maps side by side on one scale of colours; cells that are NaN stay white.

    Args:
        panels: By title ``(rows, columns)``: columns along the first descriptor, rows along the second, low to high.
        names: Of the descriptors; one makes a single row.
        ranges: Lowest and highest value of each.
        label: Of the colours.

    Raises:
        ConfigError: There is no panel, or one without a value.
    """
    if not panels or not any(np.isfinite(panel).any() for panel in panels.values()):
        raise ConfigError("`panels` must hold at least one map with a value")
    values = np.concatenate([panel[np.isfinite(panel)] for panel in panels.values()])
    single = len(names) == 1
    figure = canvas(0.9 + 4.1 * len(panels), 1.9 if single else 4.2)
    shown = None
    for axes, (title, panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        shown = axes.imshow(
            panel,
            origin="lower",
            extent=(*ranges[0], *((0, 1) if single else ranges[1])),
            aspect="auto",
            interpolation="nearest",
            cmap="viridis",
            vmin=values.min(),
            vmax=values.max(),
        )
        axes.set(title=title, xlabel=_title(names[0]))
        axes.grid(False)
        if single:
            axes.set_yticks([])
        else:
            axes.set_ylabel(_title(names[1]))
    assert shown is not None
    figure.colorbar(shown, ax=figure.axes, label=_title(label), shrink=0.9)
    return figure


@styled
def elite_mosaic(tiles: np.ndarray, names: Sequence[str], ranges: Ranges, title: str = "Elites") -> Figure:
    """Images on the plane of two descriptors.

    Args:
        tiles: ``(rows, columns, C, H, W)`` in [0, 1], rows from low to high; NaN where there is none.
        names: Of the descriptors; one makes a single row.
        ranges: Lowest and highest value of each.
        title: Title of the picture.

    Raises:
        ConfigError: There is no image.
    """
    rows, columns = tiles.shape[:2]
    images = tiles[::-1].reshape(rows * columns, *tiles.shape[2:])  # high values above
    missing: np.ndarray = np.asarray(np.isnan(images).all(axis=(1, 2, 3)))
    if missing.all():
        raise ConfigError("`tiles` must hold at least one image, got none")
    small = framed(
        pixels(np.where(missing[:, None, None, None], 1.0, images)), zoom(tiles.shape[3], tiles.shape[4], EDGE)
    )
    small[missing] = 255
    board = mosaic(small, rows, columns, gap=0)
    left, right, below, above = MARGIN
    size = board.shape[1] / DPI, board.shape[0] / DPI
    # A narrow mosaic still needs room for its axis.
    across = max(size[0], 1.6)
    figure = canvas(left + across + right, below + size[1] + above, layout=None)
    total = figure.get_size_inches()
    axes = figure.add_axes((left / total[0], below / total[1], size[0] / total[0], size[1] / total[1]))
    single = len(names) == 1
    axes.imshow(board, extent=(*ranges[0], *((0, 1) if single else ranges[1])), aspect="auto", interpolation="nearest")
    axes.set(title=title, xlabel=_title(names[0]))
    axes.grid(False)
    if single:
        axes.set_yticks([])
    else:
        axes.set_ylabel(_title(names[1]))
    return figure


@styled
def archive_history(history: Mapping[str, np.ndarray], capacity: int, realistic: bool = False) -> Figure:
    """Coverage, QD score and best objective by candidates judged.

    Args:
        history: ``evaluations``, ``cells``, ``qd_score``, ``best``, ``cells_realistic``, ``qd_score_realistic``,
            ``(T,)``.
        capacity: Cells of the archive.
        realistic: Whether to draw the realistic candidates' curves too.
    """
    figure = canvas(10.5, 3.0)
    coverage, score, best = figure.subplots(1, 3)
    steps = history["evaluations"]
    for suffix, colour, label in (("", PALETTE[0], "all"), ("_realistic", PALETTE[1], "realistic")):
        if suffix and not realistic:
            continue
        line(coverage, steps, history[f"cells{suffix}"] / capacity, colour, label)
        line(score, steps, history[f"qd_score{suffix}"], colour, label)
    line(best, steps, history["best"], PALETTE[0])
    coverage.set(title="Coverage")
    coverage.set_ylim(0, 1)
    coverage.yaxis.set_major_formatter(PercentFormatter(1.0))
    score.set(title="QD score")
    best.set(title="Best objective")
    for axes in (coverage, score, best):
        _candidates(axes)
    if realistic:
        coverage.legend()
    return figure


def _candidates(axes: Axes) -> None:
    axes.set_xlabel("Candidates")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
