"""Goal of a search: what makes a candidate better, and whether the weights as they are do well enough."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.evolution.beta.fitness import distances, measured, target_first, weighted
from lightning_gvae.evolution.beta.settings import FitnessSettings
from lightning_gvae.evolution.operators import Array

__all__ = ["Goal"]


class Goal:
    """Fitness by the settings of a search, for scores with the columns D, R and what is ``measured``.

    Args:
        settings: What counts, and how much.
        tolerance: Half width of the band around a set-point, relative to it.
    """

    def __init__(self, settings: FitnessSettings, tolerance: float) -> None:
        self.settings, self.tolerance = settings, tolerance
        self._targets, self._scores = self._numbered(settings.targets), self._numbered(settings.scores)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the S measures that are needed beside D and R."""
        return self.settings.measured

    def fitness(self, scores: ArrayLike, reference: Array, target_kl: float | None) -> Array:
        """Fitness ``(P,)`` of scores ``(P, 2 + S)``, larger is better; ``-inf`` of what is not finite.

        Args:
            scores: D, R and the measures that each candidate reached.
            reference: Those of the weights as they are, on the same probe, ``(2 + S,)``.
            target_kl: Set-point of R, nats; None if there is none.

        Raises:
            ValueError: The scores have other columns.
        """
        own, table = self.settings, np.asarray(scores, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != 2 + len(self.measured):
            names = ", ".join(("D", "R", *self.measured))
            raise ValueError(f"`scores` must have the columns {names}, got shape {table.shape}")
        before = float(reference[0] + reference[1])
        if own.kind == "target_first":
            assert target_kl is not None
            return target_first(table, before, target_kl, self.tolerance)
        target = target_kl if own.target_weight > 0 else None
        fitness = weighted(table[:, :2], before, target, own.elbo_weight, own.target_weight)
        if not self.measured:
            return fitness
        return fitness + measured(table[:, 2:], reference[2:], self._targets, own.target_weight, self._scores)

    def is_missed(self, now: Array, target_kl: float | None) -> bool:
        """Whether D, R and measures ``(2 + S,)`` are off a set-point, or there is something to improve for ever."""
        if self._scores or (target_kl is None and not self._targets):
            return True
        if not (distances(now[None, 2:], self._targets) <= self.tolerance).all():
            return True
        return target_kl is not None and not abs(now[1] - target_kl) <= self.tolerance * target_kl

    def _numbered(self, named: Mapping[str, float] | None) -> dict[int, float]:
        return {self.measured.index(name): value for name, value in (named or {}).items()}
