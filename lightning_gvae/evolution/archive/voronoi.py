"""Voronoi-Elites: an archive of a fixed number of niches whose borders follow what is in it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.latent.settings import check_bounds
from lightning_gvae.rng import torch_stream

__all__ = ["Evaluate", "Population", "survivors", "voronoi_elites"]

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


class Population(NamedTuple):
    """The elites.

    Args:
        genomes: ``(N, D)``.
        fitness: ``(N,)``, fp64.
        niches: ``(N, K)``, fp64: where each lies.
        rejected: Children whose fitness or place was NaN.
    """

    genomes: Tensor
    fitness: Tensor
    niches: Tensor
    rejected: int


@torch.no_grad()
def voronoi_elites(
    start: Tensor,
    evaluate: Evaluate,
    low: Tensor,
    high: Tensor,
    bins: int = 512,
    generations: int = 1024,
    children: int = 32,
    sigma: float = 0.1,
    seed: int = 0,
    tag: str = "voronoi",
) -> Population:
    """Search for good and different genomes: mutation of random elites, then :func:`survivors`.

    Args:
        start: First genomes ``(N, D)``, clamped to the box.
        evaluate: From genomes ``(N, D)`` to fitness ``(N,)``, maximised, and places in the space of niches ``(N, K)``,
            in units in which distances mean something; NaN in either rejects a genome.
        low: Lower bounds ``(D,)``.
        high: Upper bounds ``(D,)``.
        bins: Elites kept, at least 2.
        generations: Generations, at least 1.
        children: Genomes a generation.
        sigma: Standard deviation of the mutation, in widths of the box, positive.
        seed: Of every draw.
        tag: Keeps the streams of two searches of one seed apart.

    Raises:
        ConfigError: A number is out of range, or not one of the first genomes has a fitness.

    References:
        Hagg, Berns, Asteroth, Colton and Bäck, Expressivity of parameterized and data-driven representations in quality
        diversity search, 2021 (512 bins, 1024 generations, 32 children, 0.1, no crossover).
    """
    check_bounds(low, high)
    for name, value, least in [("bins", bins, 2), ("generations", generations, 1), ("children", children, 1)]:
        checked_count(name, value, least)
    if not 0 < sigma < float("inf"):
        raise ConfigError(f"`sigma` must be positive, in widths of the box, got {sigma!r}")
    genomes = start.clamp(low, high)
    fitness, niches, kept = _evaluated(genomes, evaluate)
    if not kept.any():
        raise ConfigError(f"not one of the {len(start)} first genomes has a fitness; start from others")
    elites = Population(genomes[kept], fitness[kept], niches[kept], 0)
    rejected = int((~kept).sum())
    for generation in range(generations):
        stream = torch_stream(seed, f"{tag}/children", generation)
        parents = elites.genomes[torch.randint(len(elites.genomes), (children,), generator=stream)]
        noise = torch.randn(parents.shape, generator=stream, dtype=parents.dtype)
        mutants = (parents + sigma * (high - low) * noise).clamp(low, high)
        fitness, niches, kept = _evaluated(mutants, evaluate)
        rejected += int((~kept).sum())
        pool = [torch.cat(pair) for pair in zip(elites[:3], (mutants[kept], fitness[kept], niches[kept]), strict=True)]
        left = survivors(pool[2], pool[1], bins)
        elites = Population(pool[0][left], pool[1][left], pool[2][left], rejected)
    left = survivors(elites.niches, elites.fitness, bins)  # more first genomes than bins, and only rejected children
    return Population(elites.genomes[left], elites.fitness[left], elites.niches[left], rejected)


def survivors(niches: Tensor, fitness: Tensor, bins: int) -> Tensor:
    """Indices, ascending, of the at most ``bins`` individuals that stay.

    Again and again the individual with the nearest neighbour of all and that neighbour are compared, and the less fit
    of the two is deleted; of equally fit ones the later.

    Args:
        niches: ``(N, K)``.
        fitness: ``(N,)``.
        bins: How many stay.

    >>> survivors(torch.tensor([[0.0], [0.1], [5.0]]), torch.tensor([1.0, 2.0, 0.0]), 2).tolist()
    [1, 2]
    """
    count = len(niches)
    alive = torch.ones(count, dtype=torch.bool)
    if count <= bins:
        return alive.nonzero()[:, 0]
    distances = torch.cdist(niches, niches, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest, towards = distances.min(1)
    for _ in range(count - bins):
        one = int(nearest.argmin())
        first, second = sorted((one, int(towards[one])))
        out = second if fitness[first] >= fitness[second] else first
        alive[out] = False
        distances[out] = torch.inf
        distances[:, out] = torch.inf
        nearest[out] = torch.inf
        orphans = (alive & (towards == out)).nonzero()[:, 0]
        if len(orphans):
            nearest[orphans], towards[orphans] = distances[orphans].min(1)
    return alive.nonzero()[:, 0]


def _evaluated(genomes: Tensor, evaluate: Evaluate) -> tuple[Tensor, Tensor, Tensor]:
    fitness, niches = evaluate(genomes)
    if fitness.shape != (len(genomes),) or niches.ndim != 2 or len(niches) != len(genomes):
        raise ConfigError(
            f"`evaluate` must give a fitness and a place for each of the {len(genomes)} genomes, got shapes "
            f"{tuple(fitness.shape)} and {tuple(niches.shape)}"
        )
    return fitness.double(), niches.double(), fitness.isfinite() & niches.isfinite().all(1)
