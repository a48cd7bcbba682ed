"""Survivors of a population: non-dominated sorting and contributions to the hypervolume; everything is minimised."""

from collections.abc import Sequence

import numpy as np

from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import contributions, non_dominated

__all__ = ["auto_reference", "fronts", "survivors"]


def fronts(values: Array) -> list[list[int]]:
    """Indices of the points ``(N, K)`` by non-dominated sorting, best front first; of equal points the first counts.

    References:
        Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002.
    """
    left, found = np.arange(len(values)), []
    while len(left):
        best = non_dominated(values[left])
        found.append(left[best].tolist())
        left = left[~best]
    return found


def survivors(values: Array, count: int, reference: Sequence[float]) -> list[int]:
    """Indices of the ``count`` points that stay, best first.

    Whole fronts as long as they fit. Of the first that does not fit, the point with the least contribution to the
    hypervolume goes, one after the other. The best point of each objective goes last, so that the front does not
    shrink from its ends, where contributions depend on the reference. With one objective: the least values.

    Args:
        values: ``(N, K)``, finite.
        count: At most N.
        reference: Of the hypervolume, ``(K,)``.

    References:
        Beume, Naujoks and Emmerich, SMS-EMOA: Multiobjective Selection Based on Dominated Hypervolume, 2007.
    """
    if values.shape[1] == 1:
        return [int(index) for index in np.argsort(values[:, 0], kind="stable")[:count]]
    kept: list[int] = []
    for front in fronts(values):
        room = count - len(kept)
        kept += _ordered(values, front, reference)[:room]
    return kept


def auto_reference(values: Array) -> list[float]:
    """Reference point of points ``(N, K)``: beyond the worst of each objective by a tenth of its extent."""
    low, high = values.min(0), values.max(0)
    extent = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    return [float(value) for value in high + 0.1 * extent]


def _ordered(values: Array, front: Sequence[int], reference: Sequence[float]) -> list[int]:
    """A front by worth: what would be taken away last comes first."""
    extremes = {min(front, key=lambda index: (values[index, k], index)) for k in range(values.shape[1])}
    left, taken = list(front), []
    while left:
        share = contributions(values[left], reference, ignore_dominated=True)
        worst = min(range(len(left)), key=lambda place: (left[place] in extremes, share[place], -left[place]))
        taken.append(left.pop(worst))
    return taken[::-1]
