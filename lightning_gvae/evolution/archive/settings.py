"""Settings of a quality-diversity search, and the interface of its problem."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count

__all__ = ["Algorithm", "ArchiveProblem", "ArchiveSettings", "Judged", "check_problem"]

Algorithm = Literal["map_elites", "cvt_map_elites", "cma_me", "cma_mae"]


class Judged(NamedTuple):
    """Judgement of a problem on N candidates.

    Args:
        objective: ``(N,)``, maximised.
        descriptors: ``(N, K)``, in the units of the problem's ranges.
        realistic: ``(N,)`` bool; None if the problem has no notion of it.
    """

    objective: Tensor
    descriptors: Tensor
    realistic: Tensor | None = None


class ArchiveProblem(Protocol):
    """Objective and descriptors of candidates."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the K descriptors."""

    @property
    def ranges(self) -> Sequence[tuple[float, float]]:
        """Lowest and highest value of each descriptor that the archive holds."""

    @property
    def floor(self) -> float:
        """A value that the objective never falls below: what an empty cell counts in the QD score."""

    def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
        """Judge latents ``(N, L)`` and what they decode to ``(N, ...)``."""


@dataclass(frozen=True)
class ArchiveSettings:
    """Numbers of a quality-diversity search.

    Args:
        algorithm: ``"map_elites"`` (a grid; children on the line between two elites, plus noise), ``"cvt_map_elites"``
            (the same with a centroidal Voronoi tessellation), ``"cma_me"`` or ``"cma_mae"`` (a grid; evolution
            strategies that climb towards improvement of the archive; ``cma_mae`` with thresholds that rise slowly).
        shape: Cells along each descriptor, at least 2 each; not for ``cvt_map_elites``.
        cells: Cells of the tessellation, at least 2; only for ``cvt_map_elites``.
        iterations: Generations after the initial candidates, at least 1; each is one call of the decoder.
        batch_size: Candidates a generation.
        initial: Candidates drawn at the start from the standard normal, clipped to the box. Not zeros: children on a
            line between equal parents go nowhere.
        iso_sigma: Standard deviation of the noise of MAP-Elites, in units of the latent, positive.
        line_sigma: Standard deviation of the step along the line, in units of the distance of the parents, 0 or more.
        emitters: Evolution strategies that share a generation out; only for ``cma_me`` and ``cma_mae``.
        sigma: Their initial step size, in units of the latent, positive.
        learning_rate: How fast a threshold of ``cma_mae`` follows what is found, in (0, 1].

    Raises:
        ConfigError: A number is out of its range.

    References:
        Mouret and Clune, Illuminating search spaces by mapping elites, 2015.
        Vassiliades, Chatzilygeroudis and Mouret, Using centroidal Voronoi tessellations to scale up the
        multidimensional archive of phenotypic elites algorithm, 2018.
        Vassiliades and Mouret, Discovering the elite hypervolume by leveraging interspecies correlation, 2018 (lines).
        Fontaine et al., Covariance matrix adaptation for the rapid illumination of behavior space, 2020.
        Fontaine and Nikolaidis, Covariance matrix adaptation MAP-Annealing, 2023.
    """

    algorithm: Algorithm = "map_elites"
    shape: Sequence[int] = (50, 50)
    cells: int = 1000
    iterations: int = 500
    batch_size: int = 200
    initial: int = 400
    iso_sigma: float = 0.1
    line_sigma: float = 0.2
    emitters: int = 5
    sigma: float = 0.5
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.algorithm not in get_args(Algorithm):
            raise ConfigError(f"`algorithm` must be one of {', '.join(get_args(Algorithm))}, got {self.algorithm!r}")
        for number in self.shape:
            checked_count("shape", number, 2, "cells along a descriptor")
        if not self.shape:
            raise ConfigError("`shape` must hold a number of cells for each descriptor, got none")
        for name, least in [("cells", 2), ("iterations", 1), ("batch_size", 1), ("initial", 2), ("emitters", 1)]:
            checked_count(name, getattr(self, name), least)
        for name in ("iso_sigma", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"`{name}` must be positive, in units of the latent, got {getattr(self, name)!r}")
        if not 0 <= self.line_sigma < math.inf:
            raise ConfigError(f"`line_sigma` must be 0 or more, got {self.line_sigma!r}")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"`learning_rate` must lie in (0, 1], got {self.learning_rate!r}")
        if self.evolves_strategies and self.batch_size // self.emitters < 4:
            raise ConfigError(
                f"`batch_size` must give each of the {self.emitters} emitters at least 4 candidates, got "
                f"{self.batch_size}; take {4 * self.emitters} or fewer emitters"
            )

    @property
    def evolves_strategies(self) -> bool:
        """Whether evolution strategies make the candidates."""
        return self.algorithm in ("cma_me", "cma_mae")

    @property
    def is_grid(self) -> bool:
        """Whether the cells are those of a grid."""
        return self.algorithm != "cvt_map_elites"

    @property
    def capacity(self) -> int:
        """Number of cells."""
        return math.prod(self.shape) if self.is_grid else self.cells


def check_problem(problem: ArchiveProblem, settings: ArchiveSettings) -> None:
    """Refuse a problem that the settings do not fit.

    Raises:
        ConfigError: Names and ranges are not equally many, a range is empty, the grid has another number of axes, or
            the floor is not finite.
    """
    if not problem.names or len(problem.names) != len(problem.ranges):
        raise ConfigError(
            f"a problem needs one range for each descriptor and at least one, got {list(problem.names)} and "
            f"{len(problem.ranges)} ranges"
        )
    if settings.is_grid and len(settings.shape) != len(problem.names):
        raise ConfigError(
            f"`shape` must hold one number for each of the {len(problem.names)} descriptors "
            f"({', '.join(problem.names)}), got {list(settings.shape)}"
        )
    for name, (low, high) in zip(problem.names, problem.ranges, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                f"the range of descriptor {name} must be [low, high] with low < high, got [{low}, {high}]"
            )
    if not torch.tensor(float(problem.floor)).isfinite():
        raise ConfigError(f"`floor` must be a number that the objective never falls below, got {problem.floor!r}")
