"""Settings of the search for the KL weight, in the groups that its constructor takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_gvae.errors import ConfigError, checked_choice, checked_count, checked_number

__all__ = ["ConvergenceSettings", "FitnessKind", "FitnessSettings", "VariationSettings"]

FitnessKind = Literal["weighted", "target_first"]


@dataclass(frozen=True)
class VariationSettings:
    """Number and origin of the candidates of a generation.

    Args:
        survivors: mu, at least 1.
        children: lambda, at least 1.
        delta: Widest reach of the trust region in natural units (a factor of e for log genes); ``None`` for no limit.
            Keep it at 0.3 or below if the look-ahead is shorter than the response of the KL.
        eta: Spread index of SBX, positive.
        crossover: Probability that a pair of children comes from SBX rather than being copies, in [0, 1].
        mutation: Probability that a gene of a child mutates, in [0, 1].
        cauchy: Scale of the Cauchy mutation in natural units, non-negative.
        mirror_candidates: Never let all candidates lie on one side of the incumbent; for few candidates and a beta that
            must drift.

    Raises:
        ConfigError: A value is out of its range.
    """

    survivors: int = 4
    children: int = 4
    delta: float | None = 0.5
    eta: float = 2.0
    crossover: float = 0.9
    mutation: float = 0.5
    cauchy: float = 0.25
    mirror_candidates: bool = False

    def __post_init__(self) -> None:
        checked_count("variation.survivors", self.survivors)
        checked_count("variation.children", self.children)
        if self.delta is not None:
            checked_number("variation.delta", self.delta, lambda v: v > 0, "must be positive or null")
        checked_number("variation.eta", self.eta, lambda v: v > 0, "must be positive")
        checked_number("variation.crossover", self.crossover, lambda v: 0 <= v <= 1, "must lie in [0, 1]")
        checked_number("variation.mutation", self.mutation, lambda v: 0 <= v <= 1, "must lie in [0, 1]")
        checked_number("variation.cauchy", self.cauchy, lambda v: v >= 0, "must not be negative")


@dataclass(frozen=True)
class FitnessSettings:
    """Measure of the candidates, see :mod:`lightning_gvae.evolution.beta.fitness`.

    Args:
        kind: ``"weighted"`` or ``"target_first"``.
        elbo_weight: w_E of the weighted fitness, non-negative.
        target_weight: w_T of the weighted fitness, non-negative.
        min_improvement: Fitness that a candidate must gain over the incumbent to replace it, non-negative.
        targets: Set-points of measures by name, weighted by ``target_weight``; for several genes.
        scores: Weights of measures that shall grow, or shrink where a weight is negative, by name.

    Which measures there are is up to whoever scores the candidates, see
    :mod:`lightning_gvae.callbacks.beta_evolution.measures`.

    Raises:
        ConfigError: A value is out of its range, all weights are 0, or the kind knows no measures.
    """

    kind: FitnessKind = "weighted"
    elbo_weight: float = 1.0
    target_weight: float = 10.0
    min_improvement: float = 0.0
    targets: Mapping[str, float] | None = None
    scores: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        checked_choice("fitness.kind", self.kind, get_args(FitnessKind))
        for group in ("targets", "scores"):
            self._check_measures(group)
        for name in ("elbo_weight", "target_weight", "min_improvement"):
            checked_number(f"fitness.{name}", getattr(self, name), lambda v: v >= 0, "must not be negative")
        if self.kind == "weighted" and self.elbo_weight == self.target_weight == 0 and not self.scores:
            raise ConfigError(
                "`fitness.elbo_weight` and `fitness.target_weight` must not both be 0, there would be nothing to "
                "rank by"
            )

    @property
    def needs_target(self) -> bool:
        """Whether there is no fitness without a target KL."""
        return self.kind == "target_first" or (self.target_weight > 0 and not self.measured)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the measures that are needed of a candidate beside D and R."""
        return tuple(dict.fromkeys([*(self.targets or {}), *(self.scores or {})]))

    def _check_measures(self, group: str) -> None:
        given: Mapping[str, float] = getattr(self, group) or {}
        if given and self.kind != "weighted":
            raise ConfigError(f"`fitness.{group}` needs `fitness.kind` 'weighted', got {self.kind!r}")
        for name, value in given.items():
            checked_number(f"fitness.{group}.{name}", value, math.isfinite, "must be a finite number")
        # Plain: it is stored with the search. Without any it counts as not stored, as before there were measures.
        object.__setattr__(self, group, {str(name): float(value) for name, value in given.items()} or None)


@dataclass(frozen=True)
class ConvergenceSettings:
    """Rule by which a search that is on target counts as converged, and sleeps.

    Args:
        window: Generations over which the genome must have stood still, at least 2. With several genes a larger one
            leaves the ELBO more time to sort them out.
        std: How still, standard deviation in natural units, positive.

    Raises:
        ConfigError: A value is out of its range.
    """

    window: int = 3
    std: float = 0.1

    def __post_init__(self) -> None:
        checked_count("convergence.window", self.window, least=2, unit="generations")
        checked_number("convergence.std", self.std, lambda v: v > 0, "must be positive")
