"""Settings of a latent search, and the interface of its problem."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.latent.constraint_handling import FITNESSES, PARTICIPANTS, Fitness, FitnessName, scalar

__all__ = ["GASettings", "Problem", "check_bounds"]


class Problem(Protocol):
    """Objective and criteria of decoded points; both see a batch ``(N, ...)``."""

    def objective(self, decoded: Tensor, /) -> Tensor:
        """Quantity that is minimised, ``(N,)``."""

    def violations(self, decoded: Tensor, /) -> Tensor:
        """Distance from meeting each criterion, 0 where it is met, ``(N, C)``; C may be 0."""


@dataclass(frozen=True)
class GASettings:
    """Numbers of the genetic algorithm.

    Tournament selection, uniform crossover of consecutive pairs, Gaussian mutation, genes clamped to their bounds, and
    a new generation that replaces the old one but for its elite.

    Args:
        population: Individuals, even, at least 2 (5 for tournament fitness).
        generations: Generations after the initial population, at least 1.
        tournament: Individuals among which selection takes the fittest, at least 1.
        crossover: Probability that a pair is crossed, in [0, 1].
        swap: Probability per gene of a crossed pair to change places, in [0, 1].
        mutation: Probability that an individual mutates, in [0, 1].
        gene_mutation: Probability per gene of a mutating individual, in [0, 1].
        sigma: Standard deviation of the mutation, in units of the latent, non-negative.
        elitism: Fittest individuals that survive as they are; fewer than ``population``.
        fitness: ``"deb"`` (feasible first), ``"tournament"`` (the paper's), ``"round_robin"`` (its expectation),
            ``"scalar"`` (penalty) or ``"violation"`` (violations only), see
            :mod:`lightning_gvae.evolution.latent.constraint_handling`.
        penalty: Weight of the violations in ``"scalar"``, non-negative.

    Raises:
        ConfigError: a number is out of its range.
    """

    population: int = 20
    generations: int = 50
    tournament: int = 3
    crossover: float = 0.5
    swap: float = 0.05
    mutation: float = 0.2
    gene_mutation: float = 0.2
    sigma: float = 1.0
    elitism: int = 1
    fitness: FitnessName = "deb"
    penalty: float = 100.0

    @classmethod
    def paper(cls, population: int = 20, generations: int = 50) -> "GASettings":
        """As published: tournament fitness, no elite."""
        return cls(population, generations, elitism=0, fitness="tournament")

    @classmethod
    def generator(cls, population: int = 200, generations: int = 200) -> "GASettings":
        """As published for making data: only violations count, no elite; to be used with ``stop_when_feasible``."""
        return cls(population, generations, elitism=0, fitness="violation")

    def __post_init__(self) -> None:
        for name, least in [("population", 2), ("generations", 1), ("tournament", 1), ("elitism", 0)]:
            checked_count(name, getattr(self, name), least)
        if self.population % 2:
            raise ConfigError(
                f"`population` must be even, individuals are crossed in pairs, got {self.population}; take "
                f"{self.population + 1}"
            )
        for name in ("crossover", "swap", "mutation", "gene_mutation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` must lie in [0, 1], got {getattr(self, name)!r}")
        for name in ("sigma", "penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"`{name}` must be a number of at least 0, got {getattr(self, name)!r}")
        if self.elitism >= self.population:
            raise ConfigError(f"`elitism` must be below `population` ({self.population}), got {self.elitism}")
        if self.fitness not in FITNESSES:
            raise ConfigError(f"`fitness` must be one of {', '.join(FITNESSES)}, got {self.fitness!r}")
        if self.fitness == "tournament" and self.population < PARTICIPANTS:
            raise ConfigError(
                f"`population` must be at least {PARTICIPANTS} for tournament fitness, got {self.population}"
            )

    @property
    def score(self) -> Fitness:
        """The fitness function that ``fitness`` names."""
        return partial(scalar, weight=self.penalty) if self.fitness == "scalar" else FITNESSES[self.fitness]


def check_bounds(low: Tensor, high: Tensor) -> None:
    """Refuse bounds that enclose no box.

    Raises:
        ConfigError: not two floating-point vectors ``(L,)``, not finite, or one of ``low`` is not below its ``high``.
    """
    if low.ndim != 1 or low.shape != high.shape or not low.numel():
        raise ConfigError(
            f"`low` and `high` must be vectors with one entry a latent, got shapes {tuple(low.shape)} and "
            f"{tuple(high.shape)}"
        )
    if not low.is_floating_point() or low.dtype != high.dtype or low.device != high.device:
        raise ConfigError(
            f"`low` and `high` must be floating point, of one type and device, got {low.dtype} on {low.device} and "
            f"{high.dtype} on {high.device}"
        )
    wrong = ~(torch.isfinite(low) & torch.isfinite(high) & (low < high))
    if wrong.any():
        where = int(wrong.nonzero()[0])
        raise ConfigError(
            f"`low` must be below `high` in every latent, got [{low[where].item():g}, {high[where].item():g}] for "
            f"latent {where}; exchange or widen them"
        )
