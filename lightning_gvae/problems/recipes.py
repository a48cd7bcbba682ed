"""Sources of points by problem: as published, or repaired."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import GASettings
from lightning_gvae.problems.criteria import Criterion
from lightning_gvae.problems.sources import (
    BoxProblem,
    Part,
    Source,
    direct_source,
    ga_source,
    latent_ga_source,
    rejection_source,
)

__all__ = ["GENERATION", "METHODS", "build_sources"]

GENERATION = 1  # of what these recipes make
METHODS = ("auto", "ga", "direct", "rejection", "latent_ga")
AUTO = {"c1": "ga", "c2": "direct", "c3": "ga", "c4": "ga", "c5": "rejection"}


def build_sources(
    problem: Criterion,
    method: str = "auto",
    paper: bool = False,
    population: int | None = None,
    generations: int | None = None,
    decode: Callable[[Tensor], Tensor] | Any | None = None,
    bound: float = 3.0,
) -> list[Source]:
    """Sources of the training points of a problem.

    Args:
        problem: C1 to C5.
        method: One of :data:`METHODS`; ``"auto"``: direct for C2, rejection for C5, ga for the others.
        paper: C4 as published, from one source a criterion, whose points need not meet the other criteria; otherwise
            from one source for all criteria at once.
        population: Individuals of the genetic algorithm; None as published: 500 for C3, else 200.
        generations: Generations of the genetic algorithm, at most; None as published: 500 for C3, else 200.
        decode: For latent_ga: the decoder, with its size of latents as ``latent_dim``.
        bound: For latent_ga: half width of the latent box.

    Returns:
        One source, or one a criterion.

    Raises:
        ConfigError: An unknown method, or one that does not fit the problem.
    """
    if method not in METHODS:
        raise ConfigError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}")
    method = AUTO[problem.name] if method == "auto" else method
    if (method == "latent_ga") != (decode is not None):
        raise ConfigError(
            f"`decode`, a trained decoder, belongs to method=latent_ga; got method={method} and decode={decode!r}"
        )
    if not bound > 0:
        raise ConfigError(f"`latent_bound` must be positive, got {bound}; 2 to 4 is usual")
    split = paper and problem.count > 1
    targets: list[BoxProblem] = [Part(problem, [column]) for column in range(problem.count)] if split else [problem]
    numbers = (500, 500) if problem.name == "c3" else (200, 200)
    settings = GASettings.generator(population or numbers[0], generations or numbers[1])
    if method == "ga":
        return [ga_source(target, settings) for target in targets]
    if method == "direct":
        return [direct_source(target) for target in targets]
    if method == "rejection":
        return [rejection_source(target) for target in targets]
    edges = torch.full((decode.latent_dim,), float(bound))  # type: ignore[union-attr]
    return [
        latent_ga_source(target, getattr(decode, "decode", decode), -edges, edges, settings)  # type: ignore[arg-type]
        for target in targets
    ]
