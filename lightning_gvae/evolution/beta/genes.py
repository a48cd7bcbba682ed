"""Genes of a chromosome: named numbers with bounds and a scale."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.operators import Array

__all__ = ["Gene", "from_unit", "steps", "to_unit"]


@dataclass(frozen=True)
class Gene:
    """A named number with bounds; operators see its position in ``[0, 1]``.

    Step sizes (Cauchy scale, trust region) are given in natural units: one unit is a factor of e for a log gene and a
    tenth of the range for a linear gene.

    Args:
        name: Scalar buffer of the module that carries the value, for example ``"beta"``.
        low: Smallest value; positive for a log gene.
        high: Largest value, above ``low``.
        scale: ``"log"`` (equal ratios are equal steps) or ``"linear"``.

    Raises:
        ConfigError: ``low >= high``, a bound is not finite, a log gene has a bound of zero or below, or ``scale`` is
            unknown.

    >>> gene = Gene("beta", 0.01, 100.0)
    >>> float(gene.to_unit(1.0)), round(float(gene.from_unit(0.75)), 9)
    (0.5, 10.0)
    """

    name: str
    low: float
    high: float
    scale: Literal["log", "linear"] = "log"

    def __post_init__(self) -> None:
        if self.scale not in ("log", "linear"):
            raise ConfigError(f"`scale` of gene {self.name!r} must be 'log' or 'linear', got {self.scale!r}")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ConfigError(f"`low` and `high` of gene {self.name!r} must be finite, got {self.low} and {self.high}")
        if not self.low < self.high:
            raise ConfigError(f"`low` of gene {self.name!r} must be below `high`, got {self.low} and {self.high}")
        if self.scale == "log" and not self.low > 0:
            raise ConfigError(
                f"`low` of gene {self.name!r} must be positive on a log scale, got {self.low}; "
                "raise it or set `scale` to 'linear'"
            )

    @property
    def step(self) -> float:
        """Length of one natural unit in ``[0, 1]``."""
        return 1.0 / math.log(self.high / self.low) if self.scale == "log" else 0.1

    def to_unit(self, value: ArrayLike) -> Array:
        """Position of ``value`` in ``[0, 1]``; outside for a value out of bounds."""
        value = np.asarray(value, dtype=np.float64)
        if self.scale == "log":
            return np.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, x: ArrayLike) -> Array:
        """Value at position ``x``, kept inside the bounds against rounding."""
        x = np.asarray(x, dtype=np.float64)
        if self.scale == "log":
            value = self.low * np.exp(x * math.log(self.high / self.low))
        else:
            value = self.low + x * (self.high - self.low)
        return np.clip(value, self.low, self.high)

    def settings(self) -> dict[str, float | str]:
        """The constructor's arguments as plain values."""
        return asdict(self)


def to_unit(genes: Sequence[Gene], values: ArrayLike) -> Array:
    """Positions ``(..., d)`` of the values ``(..., d)`` of several genes."""
    values = np.asarray(values, dtype=np.float64)
    return np.stack([gene.to_unit(values[..., index]) for index, gene in enumerate(genes)], axis=-1)


def from_unit(genes: Sequence[Gene], x: ArrayLike) -> Array:
    """Values ``(..., d)`` at the positions ``(..., d)`` of several genes."""
    x = np.asarray(x, dtype=np.float64)
    return np.stack([gene.from_unit(x[..., index]) for index, gene in enumerate(genes)], axis=-1)


def steps(genes: Sequence[Gene]) -> Array:
    """Length of one natural unit of each gene in ``[0, 1]``, ``(d,)``."""
    return np.array([gene.step for gene in genes], dtype=np.float64)
