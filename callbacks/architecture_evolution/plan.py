"""Plan of an architecture search: everything that decides what is proposed and selected."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.architecture.evolvers import Elitism, Evolver
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.architecture.objectives import SearchObjective, objectives_by_name
from lightning_gvae.evolution.architecture.pymoo_evolvers import build_evolver
from lightning_gvae.evolution.architecture.search import Region

__all__ = ["SearchPlan"]


@dataclass(frozen=True)
class SearchPlan:
    """Algorithm, search space and objectives of a search.

    Args:
        space: Where genomes come from.
        algorithm: Name of the algorithm.
        population: Genomes a generation.
        generations: At least 1.
        names: Names of the objectives.
        reference: Reference point of the hypervolume, one value an objective.
        elitism: Of ``chv_roulette``.
        limits: Region of interest.
        seed: Of everything.

    Raises:
        ConfigError: A value is out of its range.
    """

    space: GenomeSpace
    algorithm: str
    population: int
    generations: int
    names: tuple[str, ...]
    reference: tuple[float, ...] | None
    elitism: Elitism
    limits: Region
    seed: int
    objectives: tuple[SearchObjective, ...] = field(init=False)
    point: list[float] = field(init=False)

    def __post_init__(self) -> None:
        checked_count("generations", self.generations)
        objectives = objectives_by_name(self.names)
        point = [each.reference for each in objectives] if self.reference is None else list(self.reference)
        if len(point) != len(objectives):
            raise ConfigError(f"`reference` must have one value an objective, got {point} for {list(self.names)}")
        object.__setattr__(self, "objectives", objectives)
        object.__setattr__(self, "point", point)

    def shortened(self) -> "SearchPlan":
        """The same search of one generation of four genomes at most, for a trial of the code."""
        short = {"population": min(self.population, 4), "generations": 1}
        kept = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.init}
        return SearchPlan(**(kept | short))

    @property
    def measured(self) -> set[str]:
        """Names of the numbers, the loss among them, that candidates must be measured for."""
        return {name for objective in self.objectives for name in objective.needs}

    def evolver(self, costs: Callable[[Genome], Mapping[str, float]]) -> Evolver:
        """The algorithm; ``costs`` are those of a genome, without training."""
        return build_evolver(
            self.algorithm,
            self.space,
            population=self.population,
            reference=self.point,
            seed=self.seed,
            feasible=lambda genome: self.limits.holds(costs(genome)),
            elitism=self.elitism,
        )

    def check_space(self, costs: Callable[[Genome], Mapping[str, float]]) -> None:
        """Refuse a bound that no genome meets.

        Raises:
            ConfigError: The strongest compression in the space is above ``limits.loc_max``.
        """
        least = costs(self.space.smallest())["loc"]
        if self.limits.loc_max is not None and least > self.limits.loc_max:
            raise ConfigError(
                f"`limits.loc_max` {self.limits.loc_max} cannot be met: the strongest compression in this space is "
                f"{least:.3f} for these images; raise it, or allow more blocks or fewer filters"
            )

    def settings(self) -> dict[str, Any]:
        """Settings that the course of a search depends on, as journals hold them; its length is none of them."""
        return {
            "space": self.space.settings(),
            "algorithm": self.algorithm,
            "elitism": self.elitism if self.algorithm == "chv_roulette" else None,
            "population": self.population,
            "objectives": [objective.name for objective in self.objectives],
            "reference": self.point,
            **dataclasses.asdict(self.limits),
            "seed": self.seed,
        }
