"""Sources of points that meet a problem's criteria: search, construction, rejection, search in latents.

A source makes points chunk by chunk. Chunk c is a function of (seed, c) alone, so that a generation that was killed
goes on with the same points, and any chunk can be made again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import GASettings, search
from lightning_gvae.problems.box import BoxProblem, ProblemView
from lightning_gvae.rng import stream_key, torch_stream

__all__ = ["Part", "Source", "direct_source", "ga_source", "latent_ga_source", "rejection_source"]


@dataclass(frozen=True)
class Part(ProblemView):
    """A problem of which only some criteria count.

    Args:
        whole: The problem.
        columns: Which of its criteria count, as columns of ``violations``, at least one.
    """

    whole: BoxProblem
    columns: Sequence[int]

    @property
    def name(self) -> str:
        """Name with the criteria that count."""
        return f"{self.whole.name}, criteria {', '.join(str(column) for column in self.columns)} of its columns"

    def objective(self, x: Tensor) -> Tensor:
        """The objective of the whole, ``(N,)``."""
        return self.whole.objective(x)

    def violations(self, x: Tensor) -> Tensor:
        """Violations of the criteria that count, ``(N, len(columns))``."""
        return self.whole.violations(x)[:, list(self.columns)]


@dataclass(frozen=True)
class Source:
    """Makes points that meet all criteria of a problem.

    Args:
        name: Of the method.
        problem: Name of the problem.
        dims: D.
        draw: From a seed and the number of a chunk to the valid points found ``(F, D)``, in problem units, fp32.
        tries: Tries a chunk: runs of the algorithm, or points drawn.
        patience: Tries in a row without a single find after which to give up.
        unit: What a try is.
    """

    name: str
    problem: str
    dims: int
    draw: Callable[[int, int], Tensor]
    tries: int
    patience: int
    unit: str


def ga_source(problem: BoxProblem, settings: GASettings | None = None, runs: int = 250, patience: int = 2000) -> Source:
    """One run of a genetic algorithm a point, in the box of the problem scaled to [-1, 1].

    The fitness is the violation alone; a run ends with the first generation (the initial one apart) that holds a valid
    individual, and is discarded if there never is one. Genes are clamped to the box, so the points pile up on its
    faces.

    Args:
        problem: With box and criteria.
        settings: Of the algorithm; default and published for C1 and C4: 200 individuals, at most 200 generations.
        runs: Runs a chunk, all computed at once.
        patience: Runs in a row without a find after which to give up.
    """
    edges = torch.ones(problem.dims)
    middle, half = 0.5 * (problem.low + problem.high), 0.5 * (problem.high - problem.low)
    settings = GASettings.generator() if settings is None else settings

    def draw(seed: int, chunk: int) -> Tensor:
        points = _searched(lambda genes: middle + half * genes, problem, -edges, edges, runs, settings, seed, chunk)
        return _valid(problem, points)

    return Source("ga", problem.name, problem.dims, draw, runs, patience, "runs of the genetic algorithm")


def latent_ga_source(
    problem: BoxProblem,
    decode: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    settings: GASettings | None = None,
    runs: int = 250,
    patience: int = 2000,
    stop_when_feasible: bool = True,
    accept: BoxProblem | None = None,
) -> Source:
    """One run of a genetic algorithm a point, in the latent box of a trained decoder.

    Args:
        problem: With criteria for the decoded points.
        decode: Latents ``(N, L)`` to points ``(N, D)`` in problem units.
        low: Lower bounds ``(L,)``.
        high: Upper bounds ``(L,)``.
        settings: As for :func:`ga_source`.
        runs: Runs a chunk.
        patience: Runs in a row without a find after which to give up.
        stop_when_feasible: End a run at its first valid individual; with False all generations run and the fittest of
            the last one counts if it is valid.
        accept: Whose criteria decide which points are valid, if not the problem's own.
    """
    settings = GASettings.generator() if settings is None else settings

    def draw(seed: int, chunk: int) -> Tensor:
        points = _searched(decode, problem, low, high, runs, settings, seed, chunk, stop_when_feasible)
        return _valid(problem if accept is None else accept, points)

    return Source("latent_ga", problem.name, problem.dims, draw, runs, patience, "runs of the genetic algorithm")


def rejection_source(problem: BoxProblem, points: int = 100_000, patience: int = 10_000_000) -> Source:
    """Uniform points of the box, of which the valid ones are kept.

    Args:
        problem: With box and criteria.
        points: Points a chunk.
        patience: Points in a row without a valid one after which to give up.
    """

    def draw(seed: int, chunk: int) -> Tensor:
        uniforms = torch.rand(points, problem.dims, generator=torch_stream(seed, "generate/rejection", chunk))
        return _valid(problem, problem.low + (problem.high - problem.low) * uniforms)

    return Source("rejection", problem.name, problem.dims, draw, points, patience, "uniform points")


def direct_source(problem: BoxProblem, points: int = 10_000, patience: int = 1_000_000) -> Source:
    """Points of C2 by construction: chains of steps between 8 and 10 around a uniform middle, if they fit the box.

    The middle of an even number of variables is the left one of the two.

    Args:
        problem: C2 of any size.
        points: Chains a chunk.
        patience: Chains in a row that do not fit after which to give up.

    Raises:
        ConfigError: The problem is another one.
    """
    if problem.name != "c2":
        raise ConfigError(
            f"`generator.method=direct` can construct points of c2 only, got {problem.name}; use ga or rejection"
        )
    anchor = (problem.dims - 1) // 2

    def draw(seed: int, chunk: int) -> Tensor:
        stream = torch_stream(seed, "generate/direct", chunk)
        middle = problem.low + (problem.high - problem.low) * torch.rand(points, 1, generator=stream)
        steps = 8 + 2 * torch.rand(points, problem.dims - 1, generator=stream)
        chain = torch.cat([torch.zeros(points, 1), steps.cumsum(1)], 1)
        made = middle + chain - chain[:, anchor : anchor + 1]
        inside = ((made >= problem.low) & (made <= problem.high)).all(1)
        return _valid(problem, made[inside])

    return Source("direct", problem.name, problem.dims, draw, points, patience, "chains")


def _searched(
    decode: Callable[[Tensor], Tensor],
    problem: BoxProblem,
    low: Tensor,
    high: Tensor,
    runs: int,
    settings: GASettings,
    seed: int,
    chunk: int,
    stop_when_feasible: bool = True,
) -> Tensor:
    key = stream_key(seed, "generate/ga", chunk) & (2**63 - 1)
    result = search(decode, problem, low, high, runs, settings, key, stop_when_feasible=stop_when_feasible)
    return result.final.decoded.float()


def _valid(problem: BoxProblem, points: Tensor) -> Tensor:
    return points[(problem.violations(points) <= 0).all(1)]
