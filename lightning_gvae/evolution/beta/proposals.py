"""Candidates of a generation by the method of the search."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lightning_gvae.evolution.beta.cma_es import CMAES
from lightning_gvae.evolution.beta.genes import Gene, steps
from lightning_gvae.evolution.beta.settings import VariationSettings
from lightning_gvae.evolution.beta.variation import fresh, offspring, on_both_sides, spread, without_repeats
from lightning_gvae.evolution.operators import Array

__all__ = ["Method", "Proposals"]

Method = Literal["ga", "cma", "random"]


class Proposals:
    """Proposes candidates within a box around the incumbent, as many whatever the method.

    Args:
        method: ``"ga"``: survivors and their children. ``"cma"``: draws of a CMA-ES, put into the box. ``"random"``:
            uniform draws in the box.
        genes: The genes, ``(d,)``.
        variation: How many, and how they vary.
    """

    def __init__(self, method: Method, genes: Sequence[Gene], variation: VariationSettings) -> None:
        self.method, self.genes, self.variation = method, tuple(genes), variation
        self._cma: CMAES | None = None

    def candidates(self, centre: Array, population: Array, low: Array, high: Array, rng: np.random.Generator) -> Array:
        """Positions ``(P, d)`` in [0, 1], all distinct, the incumbent first.

        Args:
            centre: Position of the incumbent, ``(d,)``.
            population: Survivors of the last generation, ``(mu, d)``; those outside the box are left behind.
            low: Lower corner of the box.
            high: Upper corner.
            rng: Source of all draws.
        """
        start, survivors = centre[None, :], self.variation.survivors
        others = survivors + self.variation.children - 1
        if self.method == "random":
            return without_repeats(start, fresh(rng, low, high, others), low, high, rng)
        if self.method == "cma":
            self._cma = self._cma or self._new_cma(centre)
            drawn = self._cma.ask(rng, others) * steps(self.genes)
            return without_repeats(start, np.clip(drawn, low, high), low, high, rng)
        inside = ((population >= low) & (population <= high)).all(axis=1)
        known = without_repeats(start, population[inside], low, high, None)[:survivors]
        known = without_repeats(known, spread(rng, low, high, survivors - len(known)), low, high, rng)
        children = offspring(known, self.variation.children, self.genes, self.variation, rng)
        rows = without_repeats(known, np.clip(children, low, high), low, high, rng)
        return on_both_sides(rows, low, high) if self.variation.mirror_candidates else rows

    def learn(self, positions: Array, fitness: Array) -> None:
        """Take note of how good candidates ``(P, d)`` were, ``(P,)``; the first is the incumbent."""
        if self._cma is not None:
            self._cma.tell(positions[1:] / steps(self.genes), fitness[1:])

    def forget(self) -> None:
        """Begin anew: the incumbent was set from outside."""
        self._cma = None

    def state_dict(self) -> dict[str, Any] | None:
        """State that was learnt, as plain numbers; None if nothing."""
        return None if self._cma is None else self._cma.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue from :meth:`state_dict`."""
        self._cma = None
        if state is not None:
            self._cma = self._new_cma(np.zeros(len(self.genes)))
            self._cma.load_state_dict(state)

    def _new_cma(self, centre: Array) -> CMAES:
        """Start at a position, in natural units, with draws about half as far as a gene may move."""
        delta = self.variation.delta
        return CMAES(centre / steps(self.genes), 0.5 if delta is None else delta / 2, delta)
