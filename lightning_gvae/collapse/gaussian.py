"""A normal distribution that is fitted to data, sampled, fitted to its samples, and so on."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.rng import numpy_stream

__all__ = ["ESTIMATORS", "POLICIES", "Chains", "Estimate", "checked_fresh", "simulate"]

Array = npt.NDArray[np.float64]

POLICIES = ("replace", "accumulate", "accumulate_subsample", "augment", "fresh")
ESTIMATORS = ("unbiased", "mle")


class Estimate(NamedTuple):
    """Mean over chains, by generation.

    Attributes:
        value: ``(n + 1,)``.
        error: Standard error, ``(n + 1,)``.
        skewness: Of the mean over chains, ``(n + 1,)``: that of the chains divided by the root of their number. Where
            it is not small, the mean of these chains is no normal variable and ``error`` says little.
    """

    value: Array
    error: Array
    skewness: Array


@dataclass(frozen=True)
class Chains:
    """Fitted means and variances; row 0 is the real distribution, row k the k-th fit, the first one to real data.

    Args:
        means: ``(n + 1, C)``, C chains.
        variances: ``(n + 1, C)``.
    """

    means: Array
    variances: Array

    def variance(self) -> Estimate:
        """Fitted variance."""
        return _estimate(self.variances)

    def log_variance(self) -> Estimate:
        """Natural logarithm of the fitted variance: its mean tells the geometric mean, where most chains are."""
        return _estimate(np.log(self.variances))

    def log_variance_spread(self) -> Estimate:
        """Variance of the log-variance over the chains."""
        logs = np.log(self.variances)
        return _estimate((logs - logs.mean(1, keepdims=True)) ** 2 * (logs.shape[1] / (logs.shape[1] - 1)))

    def deviation(self) -> Estimate:
        """Fitted standard deviation."""
        return _estimate(np.sqrt(self.variances))

    def squared_mean(self) -> Estimate:
        """Squared distance of the fitted mean from the real one."""
        return _estimate((self.means - self.means[0]) ** 2)

    def second_moment(self) -> Estimate:
        """Variance and squared mean together: constant on average under maximum likelihood, whatever the policy."""
        return _estimate(self.variances + (self.means - self.means[0]) ** 2)

    def wasserstein(self) -> Estimate:
        """Squared 2-Wasserstein distance (in one dimension also the Frechet distance) to the real distribution."""
        shifts, widths = self.means - self.means[0], np.sqrt(self.variances) - np.sqrt(self.variances[0])
        return _estimate(shifts**2 + widths**2)


class Pool(NamedTuple):
    """Points by what a Gaussian fit needs of them, for C chains.

    Attributes:
        size: Number of points of each chain.
        mean: Their mean, ``(C,)``.
        squares: Their sum of squared distances from it, ``(C,)``.
    """

    size: int
    mean: Array
    squares: Array


def simulate(
    policy: str,
    samples: int,
    generations: int,
    chains: int,
    seed: int = 0,
    *,
    estimator: str = "unbiased",
    fresh: float | None = None,
    mean: float = 0.0,
    variance: float = 1.0,
) -> Chains:
    """Chains of fit, sample, fit: the first fit is to M real points, each later one to what the policy says.

    ``replace``: M samples of the last model. ``accumulate``: the real points and all samples so far, M more each
    generation. ``accumulate_subsample``: M of those, drawn anew without replacement. ``augment``: the first M real
    points and M samples of the last model. ``fresh``: a share of M new real points, samples of the last model for the
    rest.

    Where all points of a kind are used, their mean and sum of squares are drawn from their exact distributions instead
    of the points themselves, so that the cost does not depend on M. Only ``accumulate_subsample`` keeps its points:
    chains * generations * M numbers.

    Args:
        policy: One of the above.
        samples: M, points a generation, at least 2.
        generations: n, number of fits, at least 1.
        chains: C, independent repetitions, at least 2.
        seed: Seed of the stream.
        estimator: Of the variance: ``unbiased`` (divides by the points less 1) or ``mle`` (by the points).
        fresh: Share of new real points, in (0, 1], for the policy ``fresh`` alone; times M a whole number.
        mean: Of the real distribution.
        variance: Of the real distribution, positive.

    Raises:
        ConfigError: A name is unknown or a number out of range.

    References:
        Shumailov et al., AI Models Collapse when Trained on Recursively Generated Data, 2024 (replace). Gerstgrasser et
        al., Is Model Collapse Inevitable?, 2024 (accumulate). Alemohammad et al., Self-Consuming Generative Models Go
        MAD, 2024 (augment, fresh).
    """
    if policy not in POLICIES:
        raise ConfigError(f"`policy` must be one of {', '.join(POLICIES)}, got {policy!r}.")
    if estimator not in ESTIMATORS:
        raise ConfigError(f"`estimator` must be one of {', '.join(ESTIMATORS)}, got {estimator!r}.")
    checked_count("samples", samples, least=2, unit="points a generation")
    checked_count("generations", generations)
    checked_count("chains", chains, least=2)
    if not (math.isfinite(mean) and 0 < variance < math.inf):
        raise ConfigError(
            f"the real distribution must have a finite mean and a positive variance, got {mean}, {variance}."
        )
    new = checked_fresh(policy, fresh, samples)
    rng = numpy_stream(seed, f"collapse/{policy}", samples, chains)
    means, variances = (
        np.full((generations + 1, chains), float(mean)),
        np.full((generations + 1, chains), float(variance)),
    )
    real_mean, real_variance = means[0], variances[0]
    if policy == "accumulate_subsample":
        _subsampled(rng, samples, means, variances, estimator)
        return Chains(means, variances)
    first = kept = _drawn(rng, samples, real_mean, real_variance)
    for generation in range(1, generations + 1):
        if generation > 1:
            last = means[generation - 1], variances[generation - 1]
            if policy == "accumulate":
                kept = _together(kept, _drawn(rng, samples, *last))
            elif policy == "augment":
                kept = _together(first, _drawn(rng, samples, *last))
            else:
                kept = _together(_drawn(rng, samples - new, *last), _drawn(rng, new, real_mean, real_variance))
        means[generation] = kept.mean
        variances[generation] = kept.squares / (kept.size - (estimator == "unbiased"))
    return Chains(means, variances)


def checked_fresh(policy: str, fresh: float | None, samples: int) -> int:
    """Number of new real points a generation.

    Raises:
        ConfigError: The share does not belong to the policy, is out of range or makes no whole number of points.
    """
    if policy != "fresh":
        if fresh is not None:
            raise ConfigError(f"`fresh` belongs to policy='fresh', got fresh={fresh} with policy={policy!r}.")
        return 0
    if fresh is None or not 0 < fresh <= 1:
        raise ConfigError(f"`fresh` must be the share of new real points, above 0 and at most 1, got {fresh}.")
    number = round(fresh * samples)
    if abs(number - fresh * samples) > 1e-9 * samples:
        raise ConfigError(
            f"`fresh` times `samples` must be a whole number of points, got {fresh} * {samples} = "
            f"{fresh * samples:g}; the "
            f"nearest share is {number / samples:g}."
        )
    return number


def _drawn(rng: np.random.Generator, count: int, mean: Array, variance: Array) -> Pool:
    """Statistics of ``count`` normal points: their mean is normal, their squares are chi-squared, independently."""
    if count == 0:
        return Pool(0, np.zeros_like(mean), np.zeros_like(mean))
    center = mean + np.sqrt(variance / count) * rng.standard_normal(mean.shape)
    squares = variance * rng.chisquare(count - 1, mean.shape) if count > 1 else np.zeros_like(mean)
    return Pool(count, center, squares)


def _together(one: Pool, other: Pool) -> Pool:
    count = one.size + other.size
    shift = other.mean - one.mean
    return Pool(
        count,
        one.mean + shift * (other.size / count),
        one.squares + other.squares + shift**2 * (one.size * other.size / count),
    )


def _subsampled(rng: np.random.Generator, samples: int, means: Array, variances: Array, estimator: str) -> None:
    """Fill ``means`` and ``variances`` in place from row 1 on."""
    generations, chains = len(means) - 1, means.shape[1]
    points = np.empty((chains, generations * samples))
    for generation in range(1, generations + 1):
        start, stop = (generation - 1) * samples, generation * samples
        scale = np.sqrt(variances[generation - 1])[:, None]
        points[:, start:stop] = means[generation - 1][:, None] + scale * rng.standard_normal((chains, samples))
        if generation == 1:
            chosen = points[:, :stop]
        else:
            # The positions of the M smallest of independent keys are a sample without replacement.
            keys = rng.random((chains, stop), dtype=np.float32)
            chosen = np.take_along_axis(
                points[:, :stop], np.argpartition(keys, samples - 1, axis=1)[:, :samples], axis=1
            )
        means[generation] = chosen.mean(1)
        variances[generation] = chosen.var(1, ddof=int(estimator == "unbiased"))


def _estimate(values: Array) -> Estimate:
    chains = values.shape[1]
    means, deviations = values.mean(1), values.std(1, ddof=1)
    third = ((values - means[:, None]) ** 3).mean(1)
    skewness = np.divide(third, deviations**3, out=np.zeros_like(third), where=deviations > 1e-12 * np.abs(means))
    return Estimate(means, deviations / math.sqrt(chains), skewness / math.sqrt(chains))
