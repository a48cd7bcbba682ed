r"""CMA-ES: candidates from a Gaussian whose mean, step size and covariance follow the better ones.

Written here, and not taken from a package, because a search must be resumable from plain numbers and draw from given
streams.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_gvae.evolution.operators import Array

__all__ = ["CMAES"]

_LEAST_SIGMA, _LEAST_EIGENVALUE = 1e-3, 1e-12


class CMAES:
    r"""Covariance matrix adaptation with weighted recombination of the better half and no restarts.

    .. math:: x_i \sim N(m, \sigma^2 C),\qquad m \leftarrow m + \sigma \sum_{i \le \mu} w_i y_{i:\lambda}

    :math:`\sigma` follows the length of the path of the mean, C the path itself (rank one) and the spread of the better
    half (rank :math:`\mu`); constants are the published defaults. Only the order of the fitness counts, so it may be
    relative to the generation.

    Args:
        mean: Start, ``(d,)``.
        sigma: Step size at the start, positive.
        most: Largest step size; ``None`` for no limit. The smallest is 0.001, so that a goal that moves is followed.

    References:
        Hansen, The CMA Evolution Strategy: A Tutorial, 2016, figure 6 (with positive weights alone).
    """

    def __init__(self, mean: Array, sigma: float, most: float | None = None) -> None:
        self.mean, self.sigma, self.most = np.array(mean, dtype=np.float64), float(sigma), most
        size = len(self.mean)
        self.covariance = np.eye(size)
        self.path, self.path_sigma = np.zeros(size), np.zeros(size)
        self.generation = 0

    def ask(self, rng: np.random.Generator, count: int) -> Array:
        """``count`` candidates, ``(count, d)``."""
        values, vectors = self._eigen()
        drawn = rng.standard_normal((count, len(self.mean)))
        return self.mean + self.sigma * (drawn * np.sqrt(values)) @ vectors.T

    def tell(self, candidates: Array, fitness: Array) -> None:
        """Follow the better half.

        Args:
            candidates: ``(count, d)``, at least two; those that were put back into bounds as they were evaluated.
            fitness: ``(count,)``, larger is better; ``-inf`` of one that failed.
        """
        size, count = len(self.mean), len(candidates)
        half = count // 2
        if half < 1 or not np.isfinite(fitness).any():
            return
        weights = math.log((count + 1) / 2) - np.log(np.arange(1, half + 1))
        weights = weights / weights.sum()
        mass = 1 / np.square(weights).sum()
        best = candidates[np.argsort(-fitness, kind="stable")[:half]]
        steps = (best - self.mean) / self.sigma
        move = weights @ steps
        values, vectors = self._eigen()

        rate = (mass + 2) / (size + mass + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (size + 1)) - 1) + rate
        whitened = vectors @ ((vectors.T @ move) / np.sqrt(values))
        self.path_sigma = (1 - rate) * self.path_sigma + math.sqrt(rate * (2 - rate) * mass) * whitened
        expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
        length = float(np.linalg.norm(self.path_sigma))
        since = 1 - (1 - rate) ** (2 * (self.generation + 1))
        # A path that is long because the step size lags behind would stretch the covariance too.
        steady = float(length / math.sqrt(since) < (1.4 + 2 / (size + 1)) * expected)

        decay = (4 + mass / size) / (size + 4 + 2 * mass / size)
        self.path = (1 - decay) * self.path + steady * math.sqrt(decay * (2 - decay) * mass) * move
        one = 2 / ((size + 1.3) ** 2 + mass)
        many = min(1 - one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
        kept = 1 - one - many + (1 - steady) * one * decay * (2 - decay)
        spread = (steps * weights[:, None]).T @ steps
        self.covariance = kept * self.covariance + one * np.outer(self.path, self.path) + many * spread

        self.mean = self.mean + self.sigma * move
        self.sigma *= math.exp(min(1.0, rate / damping * (length / expected - 1)))
        self.sigma = (
            max(self.sigma, _LEAST_SIGMA) if self.most is None else float(np.clip(self.sigma, _LEAST_SIGMA, self.most))
        )
        self.generation += 1

    def state_dict(self) -> dict[str, Any]:
        """State as plain numbers and lists, no digit lost."""
        return {
            "mean": self.mean.tolist(),
            "sigma": self.sigma,
            "covariance": self.covariance.tolist(),
            "path": self.path.tolist(),
            "path_sigma": self.path_sigma.tolist(),
            "generation": self.generation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.mean, self.covariance, self.path, self.path_sigma = (
            np.array(state[name], dtype=np.float64) for name in ("mean", "covariance", "path", "path_sigma")
        )
        self.sigma, self.generation = float(state["sigma"]), int(state["generation"])

    def _eigen(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh((self.covariance + self.covariance.T) / 2)
        return np.maximum(values, _LEAST_EIGENVALUE), vectors
