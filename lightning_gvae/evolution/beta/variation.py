"""Candidates of a generation: children of the survivors, and fresh draws."""

from collections.abc import Sequence

import numpy as np

from lightning_gvae.evolution.beta.genes import Gene, steps
from lightning_gvae.evolution.beta.settings import VariationSettings
from lightning_gvae.evolution.operators import Array, cauchy, reflect, sbx

__all__ = ["fresh", "offspring", "on_both_sides", "spread", "without_repeats"]

_REDRAWS = 100


def offspring(
    parents: Array, count: int, genes: Sequence[Gene], settings: VariationSettings, rng: np.random.Generator
) -> Array:
    """``(count, d)`` in ``[0, 1]`` from parents ``(n, d)``: SBX crossover of two different ones, then Cauchy mutation.

    With several genes each is crossed with probability 1/2, as in DEAP and pymoo; a single gene always.
    """
    width = parents.shape[1]
    made: list[Array] = []
    while len(made) < count:
        pair = rng.choice(len(parents), size=2, replace=False) if len(parents) > 1 else np.zeros(2, dtype=int)
        first, second = parents[pair]
        crossed = (rng.random() < settings.crossover) & ((rng.random(width) < 0.5) | (width == 1))
        children = sbx(first, second, settings.eta, rng)
        made += [np.where(crossed, child, parent) for child, parent in zip(children, (first, second), strict=True)]
    rows = np.stack(made[:count])
    jumps = settings.cauchy * steps(genes) * cauchy(np.zeros_like(rows), 1.0, rng)
    return reflect(rows + np.where(rng.random(rows.shape) < settings.mutation, jumps, 0.0))


def fresh(rng: np.random.Generator, low: Array, high: Array, count: int) -> Array:
    """``(count, d)`` uniform draws between two corners."""
    return low + (high - low) * rng.random((count, len(low)))


def spread(rng: np.random.Generator, low: Array, high: Array, count: int) -> Array:
    """``(count, d)`` draws between two corners, one in each of ``count`` equal slices of every gene (Latin hypercube).

    Few draws cannot all fall on one side of the centre, as uniform ones do now and then.
    """
    slices = rng.permuted(np.tile(np.arange(count)[:, None], (1, len(low))), axis=0)
    return low + (high - low) * (slices + rng.random((count, len(low)))) / max(count, 1)


def on_both_sides(candidates: Array, low: Array, high: Array) -> Array:
    """``(P, d)`` with the last row mirrored in the first in every gene in which none stands beyond the first one.

    Survivors lie where a search comes from and children of few survivors between them: one that has to go on in the
    same direction would wait for a mutation. At a corner of the box there is nothing beyond and the row stays.
    """
    centre, last = candidates[0], candidates[-1]
    sides = np.sign(candidates - centre)
    mirrored = np.clip(2 * centre - last, low, high)
    alone = ((sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)) & (mirrored != centre)
    return np.concatenate([candidates[:-1], np.where(alone, mirrored, last)[None, :]])


def without_repeats(known: Array, more: Array, low: Array, high: Array, rng: np.random.Generator | None) -> Array:
    """``known`` followed by those rows of ``more`` that are new.

    Genomes are the same if no gene differs by more than a hundredth of the box: a look-ahead would be spent on next
    to nothing. Repeats are redrawn uniformly, or dropped if there is no ``rng``.
    """
    rows, spacing = list(known), 0.01 * (high - low)
    for row in more:
        candidate, tries = row, 0
        while any((np.abs(candidate - other) <= spacing).all() for other in rows):
            tries += 1
            if rng is None or tries > _REDRAWS:
                break
            candidate = fresh(rng, low, high, 1)[0]
        else:
            rows.append(candidate)
    return np.array(rows).reshape(-1, len(low))
