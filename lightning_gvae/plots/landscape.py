"""Folded landscape: a grid of latents coloured by objective and violation, and the points it decodes to."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import MUTED, PALETTE, canvas, styled

__all__ = ["folded_landscape"]

WIDTH = 10.2
LINES = 21  # lines of the grid drawn each way
SHADE = "#c9c9c9"


@styled
def folded_landscape(
    axes: Sequence[int],
    values: np.ndarray,
    decoded: np.ndarray,
    objective: np.ndarray,
    violation: np.ndarray,
    data: np.ndarray | None = None,
    found: np.ndarray | None = None,
    found_latents: np.ndarray | None = None,
    box: tuple[float, float] | None = None,
    title: str = "Folded landscape",
) -> Figure:
    """Latent grid, left, and its decoded points, right, coloured by the objective; grey where a criterion is violated.

    With one latent the left picture is the curve of the decoded variables over it.

    Args:
        axes: Numbers of the one or two latents that span the grid.
        values: ``(W,)``, values of a latent along the grid.
        decoded: ``(H, W, D)``.
        objective: ``(H, W)``, to be minimised.
        violation: ``(H, W)``, 0 where all criteria are met.
        data: Points the decoder was trained on, ``(N, D)``.
        found: Points found by the search, ``(R, D)``.
        found_latents: Their latents, ``(R, L)``.
        box: Bounds of the variables.
        title: Headline.

    Raises:
        ConfigError: The shapes do not belong together.
    """
    decoded, objective, violation = np.asarray(decoded), np.asarray(objective), np.asarray(violation)
    shape = (len(values) if len(axes) == 2 else 1, len(values))
    if len(axes) not in (1, 2) or decoded.shape[:2] != shape or objective.shape != shape or violation.shape != shape:
        raise ConfigError(
            f"`decoded`, `objective` and `violation` must be grids {shape} over {len(axes)} latents, got "
            f"{decoded.shape}, {objective.shape} and {violation.shape}"
        )
    figure = canvas(WIDTH, 4.6)
    left, right = figure.subplots(1, 2)
    valid = violation <= 0
    norm = _norm(objective[valid] if valid.any() else objective)
    if len(axes) == 2:
        _latent_map(left, axes, values, objective, valid, norm, found_latents)
    else:
        _latent_curve(left, axes[0], values, decoded[0], valid[0], found_latents)
    points = _decoded_map(right, decoded, objective, valid, norm, data, found, box)
    share = f"{100 * valid.mean():.0f} % of the grid meets all criteria"
    left.set_title(f"{title}: latents")
    right.set_title(f"decoded ({share})")
    figure.colorbar(points, ax=right, label="objective", fraction=0.046)
    return figure


def _norm(objective: np.ndarray) -> Normalize:
    low, high = float(objective.min()), float(objective.max())
    if low > 0 and high > 3 * low:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _latent_map(
    area: Axes,
    axes: Sequence[int],
    values: np.ndarray,
    objective: np.ndarray,
    valid: np.ndarray,
    norm: Normalize,
    found: np.ndarray | None,
) -> None:
    half = 0.5 * (values[1] - values[0])
    extent = (values[0] - half, values[-1] + half, values[0] - half, values[-1] + half)
    shown = np.ma.masked_array(objective, ~valid)
    area.set_facecolor(SHADE)
    area.imshow(shown, origin="lower", extent=extent, norm=norm, cmap="viridis", interpolation="nearest")
    if found is not None:
        _crosses(area, found[:, axes[0]], found[:, axes[1]], "found")
        area.legend(loc="lower left", bbox_to_anchor=(0, -0.27), borderaxespad=0)
    area.set(xlabel=f"z{axes[0]}", ylabel=f"z{axes[1]}", xlim=extent[:2], ylim=extent[2:])
    area.grid(False)


def _latent_curve(
    area: Axes, axis: int, values: np.ndarray, decoded: np.ndarray, valid: np.ndarray, found: np.ndarray | None
) -> None:
    for variable in range(decoded.shape[1]):
        area.plot(values, decoded[:, variable], color=PALETTE[variable % len(PALETTE)], label=f"x{variable}")
    low, high = area.get_ylim()
    area.fill_between(values, low, high, where=~valid, color=SHADE, linewidth=0, zorder=0)
    if found is not None:
        area.vlines(found[:, axis], low, low + 0.05 * (high - low), color=PALETTE[1], linewidth=0.8)
    area.set(xlabel=f"z{axis}", ylabel="decoded variables", ylim=(low, high), xlim=(values[0], values[-1]))
    area.legend(loc="best")


def _decoded_map(
    area: Axes,
    decoded: np.ndarray,
    objective: np.ndarray,
    valid: np.ndarray,
    norm: Normalize,
    data: np.ndarray | None,
    found: np.ndarray | None,
    box: tuple[float, float] | None,
) -> LineCollection:
    names = ("x0", "x1") if decoded.shape[2] > 1 else ("x0", "objective")
    plane = decoded[..., :2] if decoded.shape[2] > 1 else np.stack([decoded[..., 0], objective], -1)
    if data is not None and decoded.shape[2] > 1:
        area.scatter(data[:, 0], data[:, 1], s=3, color="#dddddd", linewidth=0, label="training points", zorder=1)
    colours = np.where(valid, objective, np.nan)
    pieces, worth = [], []
    for grid, colour in ((plane, colours), (plane.transpose(1, 0, 2), colours.T)):
        for row in np.unique(np.linspace(0, len(grid) - 1, LINES).round().astype(int)):
            if grid.shape[1] > 1:
                pieces.append(np.stack([grid[row, :-1], grid[row, 1:]], 1))
                worth.append(0.5 * (colour[row, :-1] + colour[row, 1:]))
    colourmap = colormaps["viridis"].with_extremes(bad="#9a9a9a")
    lines = LineCollection(list(np.concatenate(pieces)), norm=norm, cmap=colourmap, linewidths=0.9, zorder=3)
    lines.set_array(np.ma.masked_invalid(np.concatenate(worth)))
    area.add_collection(lines)
    if found is not None:
        last = found[:, 1] if decoded.shape[2] > 1 else (found**2).sum(1)
        _crosses(area, found[:, 0], last, "found")
    area.set(xlabel=names[0], ylabel=names[1])
    area.autoscale_view()
    if box is not None and decoded.shape[2] > 1:
        # The part of the box that is used may be a corner of it: show that part, and the faces it touches.
        near = np.concatenate([plane.reshape(-1, 2), *([] if data is None else [data[:, :2]])])
        low, high = near.min(0), near.max(0)
        margin = 0.06 * np.maximum(high - low, 1e-3 * (box[1] - box[0]))
        for face in box:
            area.axvline(face, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            area.axhline(face, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        area.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    if area.get_legend_handles_labels()[0]:
        area.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, borderaxespad=0, markerscale=1.5)
    return lines


def _crosses(area: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    area.scatter(x, y, marker="x", s=26, color=PALETTE[1], linewidth=1.1, zorder=4, label=label)
