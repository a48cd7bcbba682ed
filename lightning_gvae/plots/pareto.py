"""Pictures of an architecture search: its front with reconstructions, its hypervolume, and who descends from whom."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.images import framed, pixels, zoom
from lightning_gvae.plots.style import INK, MUTED, PALETTE, canvas, line, styled

__all__ = ["genealogy", "hypervolumes", "pareto_front"]


@styled
def pareto_front(
    front: np.ndarray,
    pictures: np.ndarray,
    original: np.ndarray,
    others: np.ndarray,
    labels: tuple[str, str],
    chosen: int | None = None,
    joined: bool = True,
    title: str = "Front of the architecture search",
) -> Figure:
    """Candidates in the plane of two objectives; beside each member of the front what it makes of one image.

    Args:
        front: Members ``(N, 2)``: loss, level of compression.
        pictures: Their reconstructions ``(N, C, H, W)`` of the same image.
        original: The image ``(C, H, W)``.
        others: Other candidates ``(M, 2)``.
        labels: Of the two objectives.
        chosen: Position of the member that training goes on with.
        joined: Whether these two are all the objectives, so that the front is a line in their plane.
        title: Headline.

    Raises:
        ConfigError: There is no member, or not one picture for each.
    """
    if not len(front) or len(front) != len(pictures):
        raise ConfigError(f"`pictures` must be one for each of the members, got {len(pictures)} for {len(front)}")
    figure = canvas(8.4, 6.4)
    axes = figure.add_subplot()
    order = np.argsort(front[:, 1], kind="stable")
    if len(others):
        axes.scatter(others[:, 1], others[:, 0], s=14, color=MUTED, alpha=0.45, linewidth=0, label="other candidates")
    if joined:
        axes.step(front[order, 1], front[order, 0], where="post", color=PALETTE[0], linewidth=1.0)
    axes.scatter(front[:, 1], front[:, 0], s=42, color=PALETTE[0], zorder=3, label="front")
    if chosen is not None:
        ring: dict[str, Any] = {"facecolor": "none", "edgecolor": PALETTE[1], "linewidth": 2.0}
        axes.scatter(front[chosen, 1], front[chosen, 0], s=150, zorder=4, label="chosen", **ring)
    top = max(front[:, 0].max(), np.quantile(others[:, 0], 0.75) if len(others) else 0.0)
    low, span = front[:, 0].min(), max(top - front[:, 0].min(), 1e-3)
    axes.set_ylim(low - 0.15 * span, top + 0.75 * span)
    left, right = front[:, 1].min(), front[:, 1].max()
    margin = 0.12 * max(right - left, 0.5)
    axes.set_xlim(left - margin, max(right, others[:, 1].max() if len(others) else right) + margin)
    tiles = framed(pixels(pictures), zoom(pictures.shape[2], pictures.shape[3], edge=84))
    for place, at in enumerate(order):
        # In turns at two heights, so that neighbours do not cover each other; to the right, where a front falls away.
        box = AnnotationBbox(
            OffsetImage(tiles[at], zoom=0.5, interpolation="nearest"),
            (front[at, 1], front[at, 0]),
            xybox=(30, 40 + 48 * (place % 2)),
            boxcoords="offset points",
            frameon=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6},
        )
        axes.add_artist(box)
        axes.annotate(
            f"{place + 1}",
            (front[at, 1], front[at, 0]),
            (0, -12),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=8,
        )
    image = framed(pixels(original[None]), zoom(original.shape[1], original.shape[2], edge=120))[0]
    axes.add_artist(
        AnnotationBbox(
            OffsetImage(image, zoom=0.5, interpolation="nearest"),
            (1, 1),
            xycoords="axes fraction",
            box_alignment=(1, 1),
            frameon=False,
        )
    )
    axes.annotate("original", (1, 1), (-2, 4), "axes fraction", "offset points", ha="right", fontsize=9, color=MUTED)
    axes.set(xlabel=labels[1], ylabel=labels[0], title=title)
    axes.legend(loc="lower left")
    return figure


@styled
def hypervolumes(volumes: Sequence[float], reference: Sequence[float]) -> Figure:
    """Hypervolume of everything found, generation by generation."""
    figure = canvas(7.2, 3.6)
    axes = figure.add_subplot()
    line(axes, np.arange(len(volumes)), np.asarray(volumes, dtype=float), PALETTE[0])
    point = ", ".join(f"{value:g}" for value in reference)
    axes.set(xlabel="Generation", ylabel=f"Hypervolume, reference ({point})", title="Hypervolume of the search")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def genealogy(
    generations: Sequence[int], losses: Sequence[float], parents: Sequence[Sequence[int]], front: Sequence[int]
) -> Figure:
    """Candidates by generation and loss, joined to their parents; lines of descent of the front are coloured.

    Args:
        generations: One a candidate.
        losses: One a candidate.
        parents: Numbers of each candidate's parents.
        front: Numbers of the members of the front.

    Raises:
        ConfigError: The lists differ in length.
    """
    if not len(generations) == len(losses) == len(parents):
        raise ConfigError(
            f"`generations`, `losses` and `parents` must be equally many, got {len(generations)}, {len(losses)} and "
            f"{len(parents)}"
        )
    ancestors, waiting = set[int](), list(front)
    while waiting:
        number = waiting.pop()
        if number not in ancestors:
            ancestors.add(number)
            waiting += parents[number]
    figure = canvas(7.2, 4.4)
    axes = figure.add_subplot()
    for child, group in enumerate(parents):
        for parent in group:
            counts = child in ancestors
            axes.plot(
                (generations[parent], generations[child]),
                (losses[parent], losses[child]),
                color=PALETTE[0] if counts else MUTED,
                linewidth=1.0 if counts else 0.4,
                alpha=0.8 if counts else 0.3,
                zorder=2 if counts else 1,
            )
    colours = [PALETTE[0] if number in ancestors else MUTED for number in range(len(losses))]
    axes.scatter(generations, losses, s=12, c=colours, zorder=3, linewidth=0)
    axes.scatter(
        [generations[n] for n in front],
        [losses[n] for n in front],
        s=46,
        facecolor="none",
        edgecolor=PALETTE[1],
        linewidth=1.6,
        zorder=4,
        label="front",
    )
    axes.set_yscale("log")
    axes.set(xlabel="Generation", ylabel="Loss (log)", title="Genealogy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figure
