"""Non-dominated points, hypervolume and contributions to it; every objective is minimised."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import moocore
import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.operators import Array

__all__ = ["contributions", "contributions2d", "hypervolume", "hypervolume2d", "knee", "non_dominated"]

Points = list[tuple[float, float]]


def non_dominated(points: ArrayLike) -> np.ndarray:
    """Mask of the points that no other dominates, ``(N,)`` bool; of equal points the first counts."""
    table = _table(points)
    return np.asarray(moocore.is_nondominated(table), dtype=bool) if len(table) else np.zeros(0, dtype=bool)


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """Volume dominated by ``points`` ``(N, M)`` and bounded by ``reference``; exact in any number of objectives.

    >>> hypervolume([(1, 1), (2, 0.5)], (4, 12))
    34.0
    """
    table = _table(points, reference)
    if table.shape[1] == 2:
        return hypervolume2d(table, reference)
    inside = table[(table < np.asarray(reference)).all(1)]
    return float(moocore.hypervolume(inside, ref=np.asarray(reference, dtype=np.float64))) if len(inside) else 0.0


def contributions(points: ArrayLike, reference: Sequence[float], ignore_dominated: bool = False) -> Array:
    """Volume that each point alone dominates, ``(N,)``.

    Args:
        points: ``(N, M)``, finite.
        reference: Bounds the volume; points that are not inside have no contribution.
        ignore_dominated: False: the volume lost when the point is taken away (eq. 3 of the paper). True: as if
            dominated points were not there, the default of other libraries.
    """
    table = _table(points, reference)
    if table.shape[1] == 2:
        return contributions2d(table, reference, ignore_dominated)
    if not len(table):
        return np.zeros(0)
    return np.asarray(moocore.hv_contributions(table, ref=reference, ignore_dominated=ignore_dominated))


def hypervolume2d(points: ArrayLike, reference: Sequence[float]) -> float:
    """Area dominated by ``points`` ``(N, 2)``, by one sweep over them in the order of the first objective."""
    front, _ = _sweep([(x, y, 0) for x, y in _table(points, reference).tolist()], reference)
    area, above = 0.0, float(reference[1])
    for x, y, _ in front:
        area += (float(reference[0]) - x) * (above - y)
        above = y
    return area


def contributions2d(points: ArrayLike, reference: Sequence[float], ignore_dominated: bool = False) -> Array:
    r"""Exclusive areas ``(N,)`` of points ``(N, 2)`` in :math:`O(N \log N)`.

    The box of the i-th front point, in the order of the first objective, is
    :math:`[x_i, x_{i+1}) \times [y_i, y_{i-1})`; what dominated points cover of it is not its own. Dominated points
    have none, and of equal points no copy has any.

    References:
        Dimanov et al., MONCAE, 2021, eq. 3.
    """
    rows = [(x, y, index) for index, (x, y) in enumerate(_table(points, reference).tolist())]
    result = np.zeros(len(rows))
    front, rest = _sweep(rows, reference)
    edges = [*(x for x, _, _ in front), float(reference[0])]
    tops = [float(reference[1]), *(y for _, y, _ in front)]
    inside: list[Points] = [[] for _ in front]
    # Each dominated point lies in the box of at most one front point: the last one to its left.
    for x, y, _ in rest:
        k = bisect_right(edges, x, 0, len(front)) - 1
        if y < tops[k]:
            inside[k].append((x, y))
    for k, (x, y, index) in enumerate(front):
        box = (edges[k + 1] - x) * (tops[k] - y)
        covered = 0.0 if ignore_dominated else hypervolume2d(inside[k], (edges[k + 1], tops[k]))
        result[index] = box - covered
    if ignore_dominated:
        copies = {(x, y) for x, y, _ in rest}
        for x, y, index in front:
            if (x, y) in copies:
                result[index] = 0.0
    return result


def knee(points: ArrayLike) -> int:
    """Index of the point farthest below the plane through the extremes, after scaling every objective to [0, 1].

    Points ``(N, M)`` of a front; with fewer than three, or no extent, the one with the least scaled sum.

    Raises:
        ConfigError: There is no point.

    References:
        Das, On characterizing the "knee" of the Pareto curve based on normal-boundary intersection, 1999.
    """
    table = _table(points)
    if not len(table):
        raise ConfigError("`points` must hold at least one point of a front, got none")
    low, high = table.min(0), table.max(0)
    scaled = (table - low) / np.where(high > low, high - low, 1.0)
    # Scaled extremes lie on sum = 1 for two objectives, so the distance to the line grows as the sum falls.
    return int(np.argmin(scaled.sum(1)))


def _sweep(
    rows: Sequence[tuple[float, float, int]], reference: Sequence[float]
) -> tuple[list[tuple[float, float, int]], list[tuple[float, float, int]]]:
    """Front by the first objective, and all other points inside the reference."""
    kept = sorted(row for row in rows if row[0] < reference[0] and row[1] < reference[1])
    front: list[tuple[float, float, int]] = []
    rest = []
    for row in kept:
        if not front or row[1] < front[-1][1]:
            front.append(row)
        else:
            rest.append(row)
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(front))
    return front, rest


def _table(points: ArrayLike, reference: Sequence[float] | None = None) -> Array:
    table = np.asarray(points, dtype=np.float64)
    if table.size == 0:
        return np.zeros((0, 2 if reference is None else len(reference)))
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ConfigError(f"`points` must be finite, one row a point, got shape {table.shape}: {table.tolist()}")
    if reference is not None and len(reference) != table.shape[1]:
        raise ConfigError(
            f"`reference` must have one value for each of the {table.shape[1]} objectives, got {list(reference)}"
        )
    return table
