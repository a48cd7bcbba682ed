"""Sources of points by problem: as published, or repaired."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_choice, checked_count, checked_number
from lightning_gvae.evolution.latent.search import GASettings
from lightning_gvae.interfaces import HasLatentDim, offers
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

__all__ = ["GENERATION", "METHODS", "GeneratorSettings", "LatentFunction", "LatentModel", "build_sources"]

GENERATION = 1  # of what these recipes make
METHODS = ("auto", "ga", "direct", "rejection", "latent_ga")
AUTO = {"c1": "ga", "c2": "direct", "c3": "ga", "c4": "ga", "c5": "rejection"}


class LatentModel(HasLatentDim, Protocol):
    """Model that decodes latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """Points ``(N, D)`` in problem units of latents ``(N, L)``."""


class LatentFunction(HasLatentDim, Protocol):
    """Function from latents ``(N, L)`` to points ``(N, D)`` in problem units."""

    def __call__(self, latents: Tensor, /) -> Tensor:
        """Decode."""


@dataclass(frozen=True)
class GeneratorSettings:
    """Making of the points.

    Args:
        method: One of :data:`METHODS`; ``"auto"``: direct for C2, rejection for C5, ga for the others.
        population: Individuals of the genetic algorithm, at least 1; None as published: 500 for C3, else 200.
        generations: Of the genetic algorithm, at most, at least 1; None as published: 500 for C3, else 200.
        decode: For latent_ga: latents ``(N, L)`` to points ``(N, D)`` in problem units, with an attribute
            ``latent_dim``, such as a trained ``SolveVAE``.
        latent_bound: For latent_ga: half width of the latent box, positive.

    Raises:
        ConfigError: A value is out of its range.
    """

    method: str = "auto"
    population: int | None = None
    generations: int | None = None
    decode: LatentModel | LatentFunction | None = None
    latent_bound: float = 3.0

    def __post_init__(self) -> None:
        checked_choice("generator.method", self.method, METHODS)
        for name in ("population", "generations"):
            if getattr(self, name) is not None:
                checked_count(f"generator.{name}", getattr(self, name))
        checked_number(
            "generator.latent_bound", self.latent_bound, lambda v: v > 0, "must be positive (2 to 4 is usual)"
        )


def build_sources(problem: Criterion, paper: bool = False, generator: GeneratorSettings | None = None) -> list[Source]:
    """Sources of the training points of a problem.

    Args:
        problem: C1 to C5.
        paper: C4 as published, from one source a criterion, whose points need not meet the other criteria; otherwise
            from one source for all criteria at once.
        generator: How points are made; None takes the defaults.

    Returns:
        One source, or one a criterion.

    Raises:
        ConfigError: A method that does not fit the problem, or the decoder.
    """
    generator = generator or GeneratorSettings()
    method = AUTO[problem.name] if generator.method == "auto" else generator.method
    decode = generator.decode
    if (method == "latent_ga") != (decode is not None):
        raise ConfigError(
            f"`generator.decode`, a trained decoder, belongs to generator.method=latent_ga; got method={method} and "
            f"decode={decode!r}"
        )
    split = paper and problem.count > 1
    targets: list[BoxProblem] = [Part(problem, [column]) for column in range(problem.count)] if split else [problem]
    numbers = (500, 500) if problem.name == "c3" else (200, 200)
    settings = GASettings.generator(generator.population or numbers[0], generator.generations or numbers[1])
    if method == "ga":
        return [ga_source(target, settings) for target in targets]
    if method == "direct":
        return [direct_source(target) for target in targets]
    if method == "rejection":
        return [rejection_source(target) for target in targets]
    assert decode is not None
    edges = torch.full((decode.latent_dim,), float(generator.latent_bound))
    function = decode.decode if offers(decode, LatentModel) else cast(LatentFunction, decode)
    return [latent_ga_source(target, function, -edges, edges, settings) for target in targets]
