"""Constrained problems C1 to C5: a sum of squares to minimise in [-50, 50]^D under ever harder criteria."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = ["CRITERIA", "Criterion", "make_criterion"]

CRITERIA = ("c1", "c2", "c3", "c4", "c5")

# Smallest and largest number of variables; C4 and C5 are defined for one.
_DIMS = {"c1": (1, 10), "c2": (2, 10), "c3": (2, 10), "c4": (4, 4), "c5": (2, 2)}

# Optima by multi-start SLSQP, repeated in the tests: C3 by D, C4 by the set of its criteria.
_C3_OPTIMA = {
    2: 1.383678,
    3: 2.233147,
    4: 3.182649,
    5: 4.109627,
    6: 5.042105,
    7: 5.973546,
    8: 6.905347,
    9: 7.837144,
    10: 8.768995,
}
_C4_OPTIMA = {
    frozenset({1}): 3200.0,
    frozenset({2}): 2025.0,
    frozenset({3}): 2880.0,
    frozenset({4}): 12.5,
    frozenset({1, 2}): 5225.0,
    frozenset({1, 3}): 41600.0 / 9.0,
    frozenset({1, 4}): 3212.5,
    frozenset({2, 3}): 4905.0,
    frozenset({2, 4}): 3469.0,
    frozenset({3, 4}): 31325.0 / 6.0,
    frozenset({1, 2, 3}): 59825.0 / 9.0,
    frozenset({1, 2, 4}): 6669.0,
    frozenset({1, 3, 4}): 6225.0,
    frozenset({2, 3, 4}): 5225.0,
    frozenset({1, 2, 3, 4}): 6701.0,
}
_C5_OPTIMUM = 62.660399


@dataclass(frozen=True)
class Criterion:
    r"""Minimise :math:`f(x) = \sum_i x_i^2` over a box subject to criteria.

    The published optima of C3 and of C4 with the third or fourth criterion are not the optima of the functions as
    defined: the reference point of C3, all 4, is infeasible, and the one of C4 is not the best. Both numbers are
    kept, so that published errors can be repeated and true gaps be told.

    Args:
        name: ``"c1"`` ... ``"c5"``.
        dims: Number of variables D.
        count: Number of criteria, the columns of :meth:`violations`.
        paper_optimum: Optimum that published errors refer to; NaN for orders of C4 without one.
        true_optimum: Smallest feasible objective.
        rule: Violations of points ``(..., D)``, ``(..., count)``.
        low: Lower bound of every variable.
        high: Upper bound of every variable.
        order: C4: numbers of its criteria, in the order of the columns; else empty.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass: Learning Improved Search Spaces with
        Variational Autoencoders, PPSN 2022; Coil, GECCO 2022 (C1 and C2).
    """

    name: str
    dims: int
    count: int
    paper_optimum: float
    true_optimum: float
    rule: Callable[[Tensor], Tensor] = field(repr=False)
    low: float = -50.0
    high: float = 50.0
    order: tuple[int, ...] = ()

    def objective(self, x: Tensor) -> Tensor:
        """Sum of squares of points ``(..., D)``, to be minimised: ``(...)``."""
        return self._checked(x).square().sum(-1)

    def violations(self, x: Tensor) -> Tensor:
        """Distance from meeting each criterion, 0 where it is met, for points ``(..., D)``: ``(..., count)``."""
        return self.rule(self._checked(x))

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim < 1 or x.shape[-1] != self.dims:
            raise ConfigError(
                f"`x` must hold points of {self.name} with {self.dims} variables in its last dimension, got shape "
                f"{tuple(x.shape)}"
            )
        return x


def make_criterion(name: str, dims: int | None = None, order: Sequence[int] | None = None) -> Criterion:
    """The problem ``name``.

    Args:
        name: ``"c1"`` (a sum of at least 45 D), ``"c2"`` (neighbours 8 to 10 apart), ``"c3"`` (a bent valley),
            ``"c4"`` (up to four criteria at once) or ``"c5"`` (nine islands).
        dims: Number of variables: 1 to 10 for C1, 2 to 10 for C2 and C3; C4 has 4 and C5 has 2.
        order: C4 only: which of its criteria 1 to 4 apply, in the order of the columns; all by default.

    Raises:
        ConfigError: an unknown name, a number of variables the problem does not have, or not an order.

    >>> c2 = make_criterion("c2", dims=3)
    >>> c2.violations(torch.tensor([[0.0, 9.0, 20.0]])).tolist(), c2.true_optimum
    ([[1.0]], 128.0)
    """
    if name not in CRITERIA:
        raise ConfigError(f"`name` must be one of {', '.join(CRITERIA)}, got {name!r}")
    low, high = _DIMS[name]
    dims = high if dims is None and low == high else dims
    if dims is None or isinstance(dims, bool) or not isinstance(dims, int) or not low <= dims <= high:
        expected = str(low) if low == high else f"an integer from {low} to {high}"
        raise ConfigError(f"`dims` of {name} must be {expected}, got {dims!r}")
    if name == "c4":
        return _c4(order)
    if order is not None:
        raise ConfigError(f"`order` belongs to c4, the only problem of several criteria; {name} got {order!r}")
    if name == "c1":
        return Criterion(name, dims, 1, 2025.0 * dims, 2025.0 * dims, c1_violation)
    if name == "c2":
        optimum = 64.0 * sum((i - (dims - 1) / 2) ** 2 for i in range(dims))
        return Criterion(name, dims, 1, optimum, optimum, c2_violation)
    if name == "c3":
        return Criterion(name, dims, 1, 16.0 * dims, _C3_OPTIMA[dims], c3_violation)
    return Criterion(name, dims, 1, 62.745, _C5_OPTIMUM, c5_violation)


def c1_violation(x: Tensor) -> Tensor:
    """Amount by which the sum of ``x`` ``(..., D)`` stays below 45 D: ``(..., 1)``."""
    return (45.0 * x.shape[-1] - x.sum(-1, keepdim=True)).clamp(min=0)


def c2_violation(x: Tensor) -> Tensor:
    """Sum over neighbours of the distance of their difference from [8, 10]: ``(..., 1)``."""
    return _outside(x[..., 1:] - x[..., :-1], 8.0, 10.0).sum(-1, keepdim=True)


def c3_violation(x: Tensor) -> Tensor:
    """Sum over neighbours of a squared distance from a parabola and of the (unsquared) excess over 4: ``(..., 1)``.

    The sum is clipped as a whole, so one pair may pay for another.
    """
    left, right = x[..., :-1], x[..., 1:]
    terms = 100.0 * ((left - 3.0).square() - right - 3.0).square() + (left - 4.0)
    return terms.sum(-1, keepdim=True).clamp(min=0)


def c4_violations(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """The criteria of C4 that ``order`` names (1 to 4), for ``x`` ``(..., 4)``: ``(..., len(order))``."""
    x0, x1, x2, x3 = x.unbind(-1)
    columns: dict[int, Callable[[], Tensor]] = {
        1: lambda: (80.0 - x0 - x1).clamp(min=0),
        2: lambda: (x2 + 45.0).clamp(min=0),
        3: lambda: (60.0 - x1 / 2 - x3).clamp(min=0),
        4: lambda: _outside(x2 + x3, -7.0, -5.0),
    }
    return torch.stack([columns[number]() for number in order], dim=-1)


def foxholes(y: Tensor) -> Tensor:
    """De Jong's fifth function (Shekel's foxholes) of ``(..., 2)``: near 500 but for 25 narrow pits: ``(...)``."""
    grid = torch.tensor([-32.0, -16.0, 0.0, 16.0, 32.0], dtype=y.dtype, device=y.device)
    first, second = grid.repeat(5), grid.repeat_interleave(5)
    depth = torch.arange(1, 26, dtype=y.dtype, device=y.device)
    pits = 1.0 / (depth + (y[..., :1] - first).pow(6) + (y[..., 1:] - second).pow(6))
    return 1.0 / (0.002 + pits.sum(-1))


def c5_violation(x: Tensor) -> Tensor:
    """Height above 445 of foxholes that are turned by -33 degrees, shrunk and shifted, at ``x`` ``(..., 2)``."""
    cos, sin = math.cos(math.radians(-33.0)), math.sin(math.radians(-33.0))
    u, v = 0.39 * x[..., 0], 0.39 * x[..., 1]
    y = torch.stack([cos * u - sin * v + 9.0, sin * u + cos * v - 3.0], dim=-1)
    return (foxholes(y) - 445.0).clamp(min=0).unsqueeze(-1)


def _c4(order: Sequence[int] | None) -> Criterion:
    chosen = (1, 2, 3, 4) if order is None else tuple(order)
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= {1, 2, 3, 4}:
        raise ConfigError(f"`order` must name different criteria of 1, 2, 3 and 4, at least one, got {order!r}")
    published = {frozenset({1, 2}): 5225.0, frozenset({1, 2, 3}): 6825.0}
    published |= {frozenset({1, 2, 4}): 6825.0, frozenset({1, 2, 3, 4}): 6825.0}
    which = frozenset(chosen)
    paper = published.get(which, math.nan)
    return Criterion("c4", 4, len(chosen), paper, _C4_OPTIMA[which], partial(c4_violations, order=chosen), order=chosen)


def _outside(values: Tensor, low: float, high: float) -> Tensor:
    return (low - values).clamp(min=0) + (values - high).clamp(min=0)
