"""Weights of samples under which a set is more diverse, from D x D matrices however many samples there are."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import softmax
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.metrics.diversity.effective import checked_order, effective_number
from lightning_gvae.metrics.diversity.vendi import unit_rows

__all__ = ["WeightObjective", "WeightedSet", "diversity_weights"]

OBJECTIVES = ("nats", "published")
FLOOR = 1e-12  # eigenvalues below are empty directions; no sample with a weight lies there
CHUNK = 8192
ROUNDS = 12  # of the augmented Lagrangian, at most
CLOSE = 1e-4  # relative distance of the effective sample size from its bound

Row = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightObjective:
    r"""Objective that the weights p are chosen for.

    ``nats``: :math:`b \log VS_q(p) + (1 - b) H(p)`, two entropies in the same unit. Of clusters of :math:`n_k` samples
    that are orthogonal to each other and alike inside, cluster k then gets the mass :math:`n_k^{1-b} / \sum_j
    n_j^{1-b}`: b = 0 leaves the data as they are, b = 1 gives all clusters the same mass, however large the set.
    ``published``: :math:`b\, VS_q(p) + (1 - b) H(p)`, whose b means something else for every n.

    Args:
        strength: b, 0 to 1.
        order: q of the Vendi score, above 0; ``inf`` is not smooth and refused.
        ess: The effective sample size :math:`1 / \sum_i p_i^2` is at least this share of n, in (0, 1]. Without such a
            bound b = 1 puts everything on a few dozen samples.
        objective: ``nats`` or ``published``.
        steps: Iterations of the optimiser, at most; each costs n D² operations.
        tolerance: It stops when the objective grows relatively less.

    Raises:
        ConfigError: A setting is out of range.
    """

    strength: float = 0.8
    order: float = 1.0
    ess: float = 0.3
    objective: str = "nats"
    steps: int = 200
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name, low, high in (("strength", 0.0, 1.0), ("ess", 0.0, 1.0)):
            value = getattr(self, name)
            if not low <= value <= high or (name == "ess" and value == 0):
                raise ConfigError(f"`{name}` must lie in {'(0, 1]' if name == 'ess' else '[0, 1]'}, got {value!r}")
        if checked_order(self.order) in (0, float("inf")):
            raise ConfigError(f"`order` must be above 0 and finite to be optimised, got {self.order!r}; take 1 or 2")
        if self.objective not in OBJECTIVES:
            raise ConfigError(f"`objective` must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        checked_count("steps", self.steps)
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"`tolerance` must lie in (0, 1), got {self.tolerance!r}")


@dataclass(frozen=True, eq=False)
class WeightedSet:
    """Weights and what they do.

    Args:
        weights: p, fp64 ``(n,)``, summing to 1.
        vendi: Vendi score of the weighted set.
        uniform_vendi: Of the set as it is.
        entropy: Shannon entropy of p, nats, at most log n.
        effective_samples: ``1 / sum p²``, at most n.
        steps: Iterations that were made.
        history: The objective at every iteration.
    """

    weights: Tensor
    vendi: float
    uniform_vendi: float
    entropy: float
    effective_samples: float
    steps: int
    history: list[float] = field(default_factory=list)


def diversity_weights(features: Tensor, objective: WeightObjective | None = None) -> WeightedSet:
    r"""Choose sample weights that make a set more diverse.

    The weighted Vendi score depends on the weights through :math:`C(p) = X^T \mathrm{diag}(p) X` alone, ``(D, D)``, and
    :math:`\partial \mathrm{tr}\, f(C) / \partial p_i = x_i^T f'(C) x_i`, so that an iteration costs n D² + D³ and n D
    numbers of memory; the published form takes the eigenvalues of the n x n kernel. Log-weights are optimised by L-BFGS
    from equal weights, the bound on the effective sample size by an augmented Lagrangian around it; both entropies are
    concave in p and the bound is a ball, so (with ``nats`` and order 1) there is one best value. What rounding leaves
    outside the bound is drawn towards equal weights in the end.

    Args:
        features: ``(n, D)`` with n of at least 2; rows are divided by their length (cosine kernel).
        objective: What is maximised; None is the default.

    Raises:
        ConfigError: There is a single sample.
        DataError: Not ``(n, D)``, not finite, or a row is all zero.

    References:
        Berns, Colton and Guckelsberger, Towards mode balancing of generative models via diversity weights, 2023.
    """
    target = objective or WeightObjective()
    rows = unit_rows(features)
    count = len(rows)
    if count < 2:
        raise ConfigError("`features` must be of at least 2 samples to weigh them, got 1")
    history: list[float] = []
    logits, multiplier, penalty, made = np.zeros(count), 0.0, 1.0, 0
    for _ in range(ROUNDS):
        problem = _Problem(rows, target, multiplier, penalty)
        # Gradients with respect to log-weights are of the size of the weights, 1/n.
        options = {"maxiter": target.steps - made, "ftol": target.tolerance, "gtol": target.tolerance / count}
        found = minimize(problem, logits, jac=True, method="L-BFGS-B", callback=problem.note, options=options)
        logits, made = found.x, made + int(found.nit)
        history += problem.history
        excess = _excess(softmax(logits), target.ess)
        if made >= target.steps or (excess <= 0 and multiplier == 0) or abs(excess) * target.ess < CLOSE:
            break
        multiplier = max(0.0, multiplier + penalty * excess)
        penalty *= 3
        # Towards the bound: a weight that has vanished would have no gradient and could not come back.
        logits = np.log(np.maximum(_within(softmax(logits), target.ess), 1e-3 / count))
    weights = _within(softmax(logits), target.ess)
    p = torch.from_numpy(weights)
    return WeightedSet(
        p,
        effective_number(_spectrum(rows, p)[0], target.order),
        effective_number(_spectrum(rows, torch.full_like(p, 1 / count))[0], target.order),
        float(-(p * p.log()).nan_to_num(0.0).sum()),
        float(1 / p.square().sum()),
        made,
        history,
    )


class _Problem:
    """Minus the objective, plus the cost of a small effective sample size, with its gradient in the log-weights."""

    def __init__(self, rows: Tensor, target: WeightObjective, multiplier: float, penalty: float) -> None:
        self.rows, self.target, self.multiplier, self.penalty = rows, target, multiplier, penalty
        self.history: list[float] = []
        self._last = 0.0

    def __call__(self, logits: Row) -> tuple[float, Row]:
        p = softmax(logits)
        self._last, gradient = _objective(self.rows, p, self.target)
        push = max(0.0, self.multiplier + self.penalty * _excess(p, self.target.ess))
        gradient = gradient - push * 2 * len(p) * p
        cost = -self._last + (push**2 - self.multiplier**2) / (2 * self.penalty)
        return cost, -p * (gradient - float(p @ gradient))

    def note(self, _: Row) -> None:
        """Keep the objective of an iteration."""
        self.history.append(self._last)


def _objective(rows: Tensor, p: Row, target: WeightObjective) -> tuple[float, Row]:
    """The objective and its gradient with respect to the weights."""
    shares, vectors = _spectrum(rows, torch.from_numpy(p))
    b, q = target.strength, target.order
    inner = shares.clamp(min=FLOOR)
    if q == 1:
        log_vendi = float(-(shares * inner.log()).sum())
        slope = -inner.log() - 1
    else:
        power = float(inner.pow(q).sum())
        log_vendi = float(np.log(power) / (1 - q))
        slope = q / (1 - q) * inner.pow(q - 1) / power
    vendi = log_vendi if target.objective == "nats" else float(np.exp(log_vendi))
    scale = 1.0 if target.objective == "nats" else vendi
    logs = np.log(np.maximum(p, 1e-300))
    value = b * vendi - (1 - b) * float(p @ logs)
    return value, b * scale * _quadratic(rows, vectors, slope) - (1 - b) * (logs + 1)


def _excess(p: Row, ess: float) -> float:
    """Amount by which ``n sum p²`` exceeds the largest permitted value, 1/ess."""
    return len(p) * float(p @ p) - 1 / ess


def _within(p: Row, ess: float) -> Row:
    """``u + c (p - u)`` with the largest c of at most 1 that keeps the effective sample size."""
    apart = p - 1 / len(p)
    squares, bound = float(apart @ apart), (1 / ess - 1) / len(p)  # sum p² = |p - u|² + 1/n
    return p if squares <= bound else 1 / len(p) + float(np.sqrt(bound / squares)) * apart


def _spectrum(rows: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, 0 or more and summing to 1, and eigenvectors of the weighted second moment."""
    moment = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part, weights in zip(rows.split(CHUNK), p.split(CHUNK), strict=True):
        moment.addmm_(part.T, part * weights[:, None])
    values, vectors = torch.linalg.eigh(moment)
    values = values.clamp(min=0)
    return values / values.sum(), vectors


def _quadratic(rows: Tensor, vectors: Tensor, slope: Tensor) -> Row:
    """``x_i^T V diag(slope) V^T x_i`` of every row, ``(n,)``."""
    parts = [((part @ vectors).square_() @ slope) for part in rows.split(CHUNK)]
    return torch.cat(parts).numpy()
