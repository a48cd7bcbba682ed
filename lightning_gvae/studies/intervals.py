"""Means over seeds and paired differences, with confidence intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lightning_gvae.errors import ConfigError

__all__ = ["Interval", "mean_interval", "paired_difference"]


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Args:
        mean: Mean over the seeds.
        low: Lower end.
        high: Upper end.
        seeds: Number of values.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Student's t interval of the mean; of a single value the interval is infinite.

    >>> [round(value, 2) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48, 3]

    Args:
        values: One a seed, at least one, finite.
        level: Confidence level, in (0, 1).

    Raises:
        ConfigError: There is no value, one is not finite, or ``level`` is out of range.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise ConfigError(f"`values` must be at least one finite number, got {values!r}")
    if not 0 < level < 1:
        raise ConfigError(f"`level` must lie between 0 and 1, got {level!r}")
    mean, seeds = float(numbers.mean()), len(numbers)
    if seeds == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    half = float(stats.t.ppf((1 + level) / 2, seeds - 1) * numbers.std(ddof=1) / np.sqrt(seeds))
    return Interval(mean, mean - half, mean + half, seeds)


def paired_difference(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Interval:
    """Interval of the mean of ``ours - theirs``, seed by seed.

    Raises:
        ConfigError: They are not equally many, or as for :func:`mean_interval`.
    """
    if len(ours) != len(theirs):
        raise ConfigError(f"`ours` and `theirs` must be of the same seeds, got {len(ours)} and {len(theirs)} values")
    return mean_interval(np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64), level)
