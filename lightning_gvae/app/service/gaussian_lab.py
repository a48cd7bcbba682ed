"""Model collapse in one dimension: a Gaussian that learns from its own samples, beside the theory."""

import math
from dataclasses import dataclass

from lightning_gvae.app.service.checks import HIGHEST_SEED, number_between, whole_number
from lightning_gvae.collapse.gaussian import ESTIMATORS, POLICIES, Chains, simulate
from lightning_gvae.collapse.theory import Theory, accumulate_limit, half_life, theory
from lightning_gvae.errors import ConfigError

__all__ = ["ESTIMATORS", "POLICIES", "GaussianLab", "gaussian_lab"]

MOST_SAMPLES, MOST_GENERATIONS, MOST_CHAINS = 10_000, 500, 2000
MOST_POINTS = 5_000_000  # that one policy must keep in memory


@dataclass(frozen=True, eq=False)
class GaussianLab:
    """Chains of generations and what theory says of them.

    Args:
        policy: What each generation learns from.
        samples: Points a generation.
        chains: Fitted means and variances.
        theory: Expectations by generation, or None where no closed form is known.
        words: What there is to see.
    """

    policy: str
    samples: int
    chains: Chains
    theory: Theory | None
    words: str


def gaussian_lab(
    policy: str,
    samples: object,
    generations: object,
    chains: object = 200,
    estimator: str = "unbiased",
    fresh: object = 0.2,
    seed: object = 0,
) -> GaussianLab:
    """Fit, sample, fit again; ``fresh``, the share of new real points, counts for that policy alone.

    Raises:
        ConfigError: A name is unknown or a number out of range.
    """
    points = whole_number("The number of points a generation", samples, 2, MOST_SAMPLES)
    steps = whole_number("The number of generations", generations, 1, MOST_GENERATIONS)
    count = whole_number("The number of chains", chains, 2, MOST_CHAINS)
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    share = None
    if policy == "fresh":
        wanted = number_between("The share of fresh real points", fresh, 0, 1)
        share = max(1, round(wanted * points)) / points
    if policy == "accumulate_subsample" and points * steps * count > MOST_POINTS:
        raise ConfigError(
            f"this policy keeps every point: {points:,} points × {steps:,} generations × {count:,} chains are "
            "more than "
            f"{MOST_POINTS:,}; lower one of them."
        )
    found = simulate(policy, points, steps, count, key, estimator=estimator, fresh=share)
    known = None
    if policy == "replace" or (estimator == "mle" and policy != "accumulate_subsample"):
        known = theory(policy, points, steps, estimator=estimator, fresh=share)
    return GaussianLab(policy, points, found, known, _words(policy, points, steps, found))


def _words(policy: str, points: int, steps: int, found: Chains) -> str:
    last = found.variance().value[-1]
    typical = math.exp(found.log_variance().value[-1])
    said = (
        f"After {steps} generations the variance is {last:.3g} on average, {typical:.3g} in a typical chain (it was 1)."
    )
    if policy == "replace":
        return f"{said} Theory: in a typical chain it halves about every {half_life(points):.0f} generations."
    if policy == "accumulate":
        return f"{said} Theory (maximum likelihood): it never falls below {accumulate_limit(points):.3g} on average."
    return said
