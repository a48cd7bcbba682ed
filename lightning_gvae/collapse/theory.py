r"""Closed forms for :mod:`~lightning_gvae.collapse.gaussian`.

The real distribution is :math:`N(0, s^2)`; :math:`\mu_n, v_n` are mean and variance of the n-th fit, to M points a
generation. Sums and products start with the first fit, which is to real data. The expectations are exact, not
asymptotic; they follow from the normal mean and the chi-squared variance of normal samples, step by step.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, polygamma, psi

from lightning_gvae.collapse.gaussian import ESTIMATORS, POLICIES, checked_fresh
from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["Theory", "accumulate_limit", "c4", "half_life", "known_moments", "theory"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Theory:
    """Expectations by generation, ``(n + 1,)`` each, row 0 the real distribution; ``None`` where none is known.

    Args:
        variance: :math:`E v_n`.
        squared_mean: :math:`E \\mu_n^2`.
        log_variance: :math:`E \\ln v_n`.
        log_variance_spread: :math:`Var \\ln v_n`.
        deviation: :math:`E \\sqrt{v_n}`.
        wasserstein: :math:`E W_2^2` to the real distribution.
    """

    variance: Array
    squared_mean: Array
    log_variance: Array | None = None
    log_variance_spread: Array | None = None
    deviation: Array | None = None
    wasserstein: Array | None = None


def theory(
    policy: str,
    samples: int,
    generations: int,
    *,
    estimator: str = "unbiased",
    fresh: float | None = None,
    variance: float = 1.0,
) -> Theory:
    r"""Closed forms of the moments of :func:`~lightning_gvae.collapse.gaussian.simulate`.

    Known are ``replace`` under both estimators, and ``accumulate``, ``augment`` and ``fresh`` under ``mle``:

    * replace, unbiased: :math:`E v_n = s^2`, yet :math:`E \ln v_n = \ln s^2 + n[\psi(\tfrac{M-1}2) - \ln\tfrac{M-1}2]`,
      so that almost every chain collapses; :math:`E\mu_n^2 = s^2 n/M`.
    * replace, mle: :math:`E v_n = s^2 (1 - 1/M)^n`.
    * accumulate, mle: :math:`E v_n = s^2 \prod_{k \le n} (1 - 1/(M k^2))`, which stays above :func:`accumulate_limit`.
    * fresh, augment, mle: linear recursions with a fixed point.

    Under ``mle`` always :math:`E v_n + E \mu_n^2 = s^2`.

    Args:
        policy: As for ``simulate``.
        samples: M, at least 2.
        generations: n, at least 1.
        estimator: ``unbiased`` or ``mle``.
        fresh: Share of new real points, for the policy ``fresh``.
        variance: :math:`s^2`.

    Raises:
        ConfigError: A value is out of range, or there is no closed form for this policy and estimator.
    """
    if policy not in POLICIES or estimator not in ESTIMATORS:
        raise ConfigError(
            f"`policy` must be one of {', '.join(POLICIES)} and `estimator` one of {', '.join(ESTIMATORS)}, got "
            f"{policy!r} and {estimator!r}."
        )
    checked_count("samples", samples, least=2)
    checked_count("generations", generations)
    if not 0 < variance < math.inf:
        raise ConfigError(f"`variance` must be positive, got {variance}.")
    share = checked_fresh(policy, fresh, samples) / samples
    if policy == "replace":
        return _replace(samples, generations, estimator, variance)
    if estimator != "mle" or policy == "accumulate_subsample":
        raise ConfigError(
            f"there is no closed form for policy={policy!r} with estimator={estimator!r}; there are ones for "
            "replace, and "
            "with estimator='mle' for accumulate, augment and fresh."
        )
    if policy == "accumulate":
        steps = np.arange(1, generations + 1)
        shrunk = np.concatenate([[1.0], np.cumprod(1 - 1 / (samples * steps**2.0))])
        return Theory(variance * shrunk, variance * (1 - shrunk))
    offsets = _fresh(samples, generations, share) if policy == "fresh" else _augment(samples, generations)
    return Theory(variance * (1 - offsets), variance * offsets)


def known_moments(
    policy: str, samples: int, generations: int, *, estimator: str, fresh: float | None = None
) -> dict[str, Array]:
    """Every closed form that there is, by the name of the moment; nothing where nothing is known. Real variance 1.

    Under ``mle`` the ``second_moment``, E v + E mu^2, is 1 whatever the policy: what the mean gains the variance loses.

    Raises:
        ConfigError: A value is out of range.
    """
    known: dict[str, Array] = {}
    if policy == "replace" or (estimator == "mle" and policy != "accumulate_subsample"):
        found = theory(policy, samples, generations, estimator=estimator, fresh=fresh)
        values = {field.name: getattr(found, field.name) for field in fields(found)}
        known = {name: value for name, value in values.items() if value is not None}
    return known | ({"second_moment": np.ones(generations + 1)} if estimator == "mle" else {})


def c4(samples: int) -> float:
    r"""Mean of the sample standard deviation of M standard normal points.

    .. math:: \sqrt{2/(M-1)}\,\Gamma(M/2)/\Gamma((M-1)/2)

    >>> round(c4(2), 4), round(c4(10), 4)
    (0.7979, 0.9727)
    """
    return math.sqrt(2 / (samples - 1)) * math.exp(gammaln(samples / 2) - gammaln((samples - 1) / 2))


def accumulate_limit(samples: int, variance: float = 1.0) -> float:
    r"""Limit of :math:`E v_n` when samples accumulate (mle): :math:`s^2 \sin(x)/x`, :math:`x = \pi/\sqrt M`.

    The Gaussian twin of the bound :math:`\pi^2/6` for linear models.

    References:
        Gerstgrasser et al., Is Model Collapse Inevitable?, 2024.
    """
    x = math.pi / math.sqrt(samples)
    return variance * math.sin(x) / x


def half_life(samples: int) -> float:
    """Generations after which the geometric mean of the variance has halved (replace, unbiased); about (M - 1) ln 2."""
    half = (samples - 1) / 2
    return math.log(2) / (math.log(half) - float(psi(half)))


def _replace(samples: int, generations: int, estimator: str, variance: float) -> Theory:
    n, half = np.arange(generations + 1, dtype=np.float64), (samples - 1) / 2
    mle = estimator == "mle"
    divisor = samples / 2 if mle else half
    shrinkage = 1 - 1 / samples if mle else 1.0
    expected = variance * shrinkage**n
    squared_mean = variance * (1 - shrinkage**n) if mle else variance * n / samples
    deviation: Array = math.sqrt(variance) * np.power(math.sqrt(shrinkage) * c4(samples), n)
    return Theory(
        variance=expected,
        squared_mean=squared_mean,
        log_variance=math.log(variance) + n * (float(psi(half)) - math.log(divisor)),
        log_variance_spread=np.multiply(n, float(polygamma(1, half)), dtype=np.float64),
        deviation=deviation,
        wasserstein=squared_mean + expected + variance - 2 * math.sqrt(variance) * deviation,
    )


def _fresh(samples: int, generations: int, share: float) -> Array:
    """E mu^2 in units of s^2; v is 1 minus that."""
    offsets = [0.0]
    for _ in range(generations):
        offset = offsets[-1]
        offsets.append(share / samples + (1 - share) * (1 - offset) / samples + (1 - share) ** 2 * offset)
    return np.array(offsets)


def _augment(samples: int, generations: int) -> Array:
    """E mu^2 in units of s^2.

    The fit is the mean of the real points' mean, always the same, and of the samples' mean; with c the covariance of
    the fitted mean with the former, c' = (1/M + c) / 2, which is 1/M from the first fit on.
    """
    offsets = [0.0, 1 / samples]
    for _ in range(generations - 1):
        offset = offsets[-1]
        offsets.append((1 / samples + offset + (1 - offset) / samples + 2 / samples) / 4)
    return np.array(offsets)
