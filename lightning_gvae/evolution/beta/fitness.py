"""Fitness of a candidate KL weight, from the distortion D and rate R that its look-ahead reached."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.evolution.operators import Array

__all__ = ["LEAST_SCALE", "distances", "measured", "target_first", "weighted"]

LEAST_SCALE = 0.1  # of a set-point: distances from smaller ones are relative to it


def weighted(
    scores: ArrayLike, reference: float, target: float | None, elbo_weight: float, target_weight: float
) -> Array:
    r"""Improvement of the ELBO and closeness to the KL target, added up.

    .. math:: f_i = -\left[ w_E \frac{N_i - N_0}{\max(1, |N_0|)} + w_T \frac{|R_i - C|}{\max(C, 1)} \right],
        \qquad N = D + R

    On the rate-distortion frontier :math:`dD/dR = -\beta`, so the pull of the target outweighs the pull of the ELBO
    only for beta in :math:`[1 - k, 1 + k]` with :math:`k = (w_T / w_E) \max(1, |N_0|) / \max(C, 1)`. A target that
    needs a beta beyond is not reached: raise ``target_weight`` or use :func:`target_first`.

    Args:
        scores: ``(P, 2)`` of D and R, nats per image.
        reference: N_0, the negative ELBO of the weights as they are, on the same probe.
        target: C in nats per image; may be ``None`` if ``target_weight`` is 0.
        elbo_weight: w_E, non-negative.
        target_weight: w_T, non-negative.

    Returns:
        ``(P,)``, larger is better; ``-inf`` where D, R or the result is not finite.
    """
    distortion, rate = _columns(scores)
    with np.errstate(invalid="ignore", over="ignore"):
        fitness = -elbo_weight * _relative(distortion + rate, reference)
        if target is not None:
            fitness = fitness - target_weight * np.abs(rate - target) / max(target, 1.0)
    return _finite(fitness, distortion, rate)


def target_first(scores: ArrayLike, reference: float, target: float, tolerance: float) -> Array:
    r"""Lexicographic: first the distance of R to the band around the target, then the ELBO.

    Inside the band :math:`|R - C| \le \tau C` fitness is :math:`-e / (1 + |e|)`, in (-1, 1), with e the relative change
    of the negative ELBO; outside it is -1 minus the distance to the band over max(C, 1). So every candidate in the
    band beats every one outside. No weights, hence no limit on the beta that can be reached; but the run settles on
    the edge of the band that the ELBO prefers.

    Args:
        scores: ``(P, 2)`` of D and R, nats per image.
        reference: N_0, the negative ELBO of the weights as they are, on the same probe.
        target: C in nats per image.
        tolerance: Half width of the band relative to C.

    Returns:
        ``(P,)``, larger is better; ``-inf`` where D or R is not finite.
    """
    distortion, rate = _columns(scores)
    with np.errstate(invalid="ignore", over="ignore"):
        change = _relative(distortion + rate, reference)
        excess = np.abs(rate - target) - tolerance * target
        fitness = np.where(excess <= 0, -change / (1.0 + np.abs(change)), -1.0 - excess / max(target, 1.0))
    return _finite(fitness, distortion, rate)


def measured(
    measures: ArrayLike,
    reference: ArrayLike,
    targets: Mapping[int, float],
    target_weight: float,
    weights: Mapping[int, float],
) -> Array:
    r"""Closeness of measures to their set-points, and growth of others.

    .. math:: f_i = -w_T \sum_k \frac{|m_{ik} - C_k|}{\max(|C_k|, 0.1)} + \sum_k w_k (m_{ik} - m_{0k})

    Args:
        measures: ``(P, S)``.
        reference: m_0, those of the weights as they are, on the same probe, ``(S,)``.
        targets: C_k by number of the measure.
        target_weight: w_T, non-negative.
        weights: w_k by number of the measure; negative for one that shall shrink.

    Returns:
        ``(P,)``, larger is better; ``-inf`` where a measure is not finite.
    """
    table, start = np.asarray(measures, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        fitness = -target_weight * distances(table, targets).sum(axis=1)
        for index, weight in weights.items():
            fitness = fitness + weight * (table[:, index] - start[index])
    return np.where(np.isfinite(table).all(axis=1) & np.isfinite(fitness), fitness, -np.inf)


def distances(measures: Array, targets: Mapping[int, float]) -> Array:
    """Distances ``(P, K)`` of measures ``(P, S)`` from their K set-points, relative to them."""
    columns = [np.abs(measures[:, k] - value) / max(abs(value), LEAST_SCALE) for k, value in targets.items()]
    return np.stack(columns, axis=1) if columns else np.zeros((len(measures), 0))


def _columns(scores: ArrayLike) -> tuple[Array, Array]:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(f"`scores` must be (P, 2), distortion and rate of each candidate, got shape {table.shape}")
    return table[:, 0], table[:, 1]


def _relative(negative_elbo: Array, reference: float) -> Array:
    return (negative_elbo - reference) / max(1.0, abs(reference))


def _finite(fitness: Array, distortion: Array, rate: Array) -> Array:
    return np.where(np.isfinite(distortion) & np.isfinite(rate) & np.isfinite(fitness), fitness, -np.inf)
