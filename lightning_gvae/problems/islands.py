"""The islands of a feasible set in the plane: how many there are, and how points are spread over them."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.problems.box import BoxProblem

__all__ = ["Islands", "islands_of"]


@dataclass(frozen=True)
class Islands:
    """Connected parts of a feasible set on a grid.

    Args:
        labels: ``(G, G)``, 0 where infeasible, else the number of the island from 1 on; first index is the first
            variable.
        low: Lower bound of both variables.
        high: Upper bound.
    """

    labels: np.ndarray
    low: float
    high: float

    @property
    def count(self) -> int:
        """Number of islands."""
        return int(self.labels.max())

    def shares(self, points: Tensor) -> np.ndarray:
        """Share of points ``(N, 2)`` on each island, ``(count,)``; what is missing from 1 is in the water."""
        cells = (points.cpu().double().numpy() - self.low) / (self.high - self.low) * (len(self.labels) - 1)
        rows = np.clip(np.rint(cells), 0, len(self.labels) - 1).astype(int)
        found = self.labels[rows[:, 0], rows[:, 1]]
        return np.bincount(found, minlength=self.count + 1)[1:] / len(points)


def islands_of(problem: BoxProblem, resolution: int = 1001) -> Islands:
    """Find the islands of a problem of two variables; cells touching at a corner are not connected.

    Args:
        problem: With two variables, such as C5.
        resolution: Grid points along an axis, at least 2.

    Raises:
        ConfigError: The problem has another number of variables.
    """
    if problem.dims != 2:
        raise ConfigError(
            f"islands are drawn on a map: the problem must have 2 variables, {problem.name} has {problem.dims}"
        )
    line = torch.linspace(problem.low, problem.high, checked_count("resolution", resolution, least=2))
    grid = torch.cartesian_prod(line, line)
    valid = (problem.violations(grid) <= 0).all(1).view(resolution, resolution).numpy()
    labels, _ = ndimage.label(valid)
    return Islands(labels, problem.low, problem.high)
