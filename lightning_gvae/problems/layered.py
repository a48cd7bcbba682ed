"""LayeredSOLVE: one criterion after the other, each layer's points found in the search space of the layer before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.evolution.latent.search import GASettings, latent_bounds
from lightning_gvae.problems.box import ProblemView
from lightning_gvae.problems.criteria import Criterion
from lightning_gvae.problems.generate import generate
from lightning_gvae.problems.sources import Part, Source, ga_source, latent_ga_source
from lightning_gvae.rng import stream_key

__all__ = ["CollapseError", "LayerPoints", "LayeredSettings", "SearchSpace", "check_spread", "layered"]


class SearchSpace(Protocol):
    """Search space, trained on a layer's points."""

    @property
    def latent_dim(self) -> int:
        """L."""

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance ``(N, L)`` of points ``(N, D)`` in problem units."""

    def decode(self, latents: Tensor) -> Tensor:
        """Points ``(N, D)`` in problem units."""


Fit = Callable[[Tensor, int], SearchSpace]


class CollapseError(DataError):
    """The points of a layer are nearly one point; ``stds`` and ``distinct`` (share of distinct rows) say how near."""

    def __init__(self, message: str, stds: Tensor, distinct: float) -> None:
        super().__init__(message)
        self.stds, self.distinct = stds, distinct


@dataclass(frozen=True)
class LayeredSettings:
    """Settings of the layers.

    Args:
        points: Points a layer, at least 1.
        bound: Half width of the latent box, or ``"auto"``: where the layer's training points lie, see
            :func:`~lightning_gvae.evolution.latent.search.latent_bounds`. The published 2 cuts solutions off.
        population: Individuals of the generating algorithm.
        generations: Its generations, at most.
        paper: As published, mistakes included: a point is accepted if it meets the first two criteria, whatever the
            layer; the fitness knows the criteria before the last one only; and no run ends early.
        check: Stop if a layer's points are nearly one point.

    Raises:
        ConfigError: A value is out of range.
    """

    points: int = 5000
    bound: float | str = 3.0
    population: int = 200
    generations: int = 200
    paper: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        checked_count("points", self.points)
        if self.bound != "auto" and not (isinstance(self.bound, float | int) and self.bound > 0):
            raise ConfigError(f"`bound` must be a positive half width of the latent box or 'auto', got {self.bound!r}")


@dataclass(frozen=True)
class LayerPoints:
    """A layer: its points and the space learnt from them.

    Args:
        points: ``(N, D)``, problem units.
        space: What was trained on them.
        low: Lower bounds of its latent box, ``(L,)``.
        high: Upper bounds.
    """

    points: Tensor
    space: SearchSpace
    low: Tensor = field(repr=False)
    high: Tensor = field(repr=False)


def layered(
    problem: Criterion,
    fit: Fit,
    settings: LayeredSettings | None = None,
    seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> list[LayerPoints]:
    """Make the layers, one a criterion, in the order of the problem's columns.

    Layer 0 is made by the genetic algorithm in the problem's own box, for the first criterion. Layer k searches the
    latent box of layer k - 1 for points that meet criteria 0 to k.

    Args:
        problem: With at least one criterion.
        fit: From points ``(N, D)`` and the number of the layer to the space learnt from them.
        settings: How.
        seed: Of all draws.
        progress: Called with layer, points found and tries.

    Returns:
        All layers; the last one is where to search for the optimum.

    Raises:
        CollapseError: The points of a layer are nearly one point.
        InfeasibleError: A layer finds no points; ``points`` holds what was found.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass: Learning Improved Search Spaces with
        Variational Autoencoders, PPSN 2022.
    """
    settings = LayeredSettings() if settings is None else settings
    layers: list[LayerPoints] = []
    for number in range(problem.count):
        source = _source(problem, number, layers, settings)
        report = None if progress is None else lambda found, tries, number=number: progress(number, found, tries)
        points = generate(source, settings.points, stream_key(seed, "layer", number) & (2**62 - 1), report)
        if settings.check:
            check_spread(points, problem.high - problem.low, f"layer {number + 1} of {problem.count}")
        space = fit(points, number)
        layers.append(LayerPoints(points, space, *_box(space, points, settings)))
    return layers


def check_spread(points: Tensor, width: float, what: str, spread: float = 0.005, distinct: float = 0.9) -> None:
    """Refuse points from which no search space can be learnt: nearly equal ones.

    Args:
        points: ``(N, D)``.
        width: Width of the box.
        what: Name of the points, for the message.
        spread: Share of the width that the standard deviation of two coordinates (one, if there is but one) must reach.
        distinct: Share of rows that must differ from each other.

    Raises:
        CollapseError: They are nearly equal.
    """
    stds = float64(points).std(0, correction=0)
    share = len(points.unique(dim=0)) / len(points)
    needed = min(2, points.shape[1])
    if int((stds > spread * width).sum()) < needed or share < distinct:
        figures = ", ".join(f"{value:.3g}" for value in stds.tolist())
        raise CollapseError(
            f"the points of {what} have collapsed: standard deviations {figures} (at least {needed} should exceed "
            f"{spread * width:g}), {share:.1%} of {len(points)} rows distinct (at least {distinct:.0%} should be). A "
            "search space learnt from them is a point; end runs at their first valid individual (paper=false), "
            "widen the "
            "latent box (bound), or switch the check off (check=false)",
            stds,
            share,
        )


def _source(problem: Criterion, number: int, layers: Sequence[LayerPoints], settings: LayeredSettings) -> Source:
    numbers = settings.population, settings.generations
    if number == 0:
        return ga_source(Part(problem, [0]), GASettings.generator(*numbers))
    last = layers[-1]
    if not settings.paper:
        target = Part(problem, range(number + 1))
        return latent_ga_source(target, last.space.decode, last.low, last.high, GASettings.generator(*numbers))
    return latent_ga_source(
        Published(problem, number),
        last.space.decode,
        last.low,
        last.high,
        GASettings.paper(*numbers),
        stop_when_feasible=False,
        accept=Part(problem, range(2)),
    )


@dataclass(frozen=True)
class Published(ProblemView):
    """Layer k as the published code scores it: criterion k is the objective, criteria 0 to k - 2 are the criteria.

    Args:
        whole: The problem.
        number: k, at least 1.
    """

    whole: Criterion
    number: int

    @property
    def name(self) -> str:
        """Name with the layer."""
        return f"{self.whole.name}, layer {self.number + 1} as published"

    def objective(self, x: Tensor) -> Tensor:
        """Violation of criterion k, ``(N,)``."""
        return self.whole.violations(x)[:, self.number]

    def violations(self, x: Tensor) -> Tensor:
        """Violations of the criteria before the last one, ``(N, k - 1)``: one too few."""
        return self.whole.violations(x)[:, : self.number - 1]


def _box(space: SearchSpace, points: Tensor, settings: LayeredSettings) -> tuple[Tensor, Tensor]:
    if isinstance(settings.bound, str):
        mean, log_var = space.encode(points)
        return latent_bounds(mean, torch.exp(0.5 * log_var))
    edge = torch.full((space.latent_dim,), float(settings.bound))
    return -edge, edge
