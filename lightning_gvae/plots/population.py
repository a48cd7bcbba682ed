"""Picture of a population over its generations: genes of all members, and the hypervolume of what was stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.style import PALETTE, as_written, canvas, line, styled

__all__ = ["population_history"]

RANGE = 20.0  # ratio of the values of a gene from which on its axis is logarithmic


@styled
def population_history(journal: Sequence[Mapping[str, Any]], genes: Sequence[str], volumes: Sequence[float]) -> Figure:
    """Genes of all members by optimiser step, and the hypervolume of the stored members.

    Args:
        journal: Rows with ``step``, ``member``, ``parent`` (empty for members that stay) and a value of each gene.
        genes: Their names.
        volumes: One a generation.

    Raises:
        ConfigError: There are no rows.
    """
    if not journal:
        raise ConfigError("`journal` must have at least one row")
    figure = canvas(7.2, 2.6 * (len(genes) + 1))
    panels = figure.subplots(len(genes) + 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = np.unique([int(row["step"]) for row in journal])
    for axes, gene in zip(panels, genes, strict=False):
        values = np.array([float(row[gene]) for row in journal])
        for number, (x, y) in enumerate(_lines(journal, gene)):
            colour = PALETTE[number % len(PALETTE)]
            axes.plot(x, y, color=colour, linewidth=1.1, marker="o", markersize=2.5, alpha=0.85)
        if values.min() > 0 and values.max() > RANGE * values.min():
            axes.set_yscale("log")
        axes.set(ylabel=as_written(gene))
    line(panels[-1], steps[-len(volumes) :], np.asarray(volumes, dtype=float), PALETTE[0])
    panels[-1].set(xlabel="Optimiser step of a member", ylabel="Hypervolume")
    panels[0].set_title("Population over the generations")
    return figure


def _lines(journal: Sequence[Mapping[str, Any]], gene: str) -> list[tuple[list[int], list[float]]]:
    """Steps and values of each member from one exchange to the next."""
    found: list[tuple[list[int], list[float]]] = []
    for member in sorted({int(row["member"]) for row in journal}):
        current: tuple[list[int], list[float]] = ([], [])
        for row in journal:
            if int(row["member"]) != member:
                continue
            current[0].append(int(row["step"]))
            current[1].append(float(row[gene]))
            if row["parent"] != "":
                found.append(current)
                current = ([], [])
        if current[0]:
            found.append(current)
    return found
