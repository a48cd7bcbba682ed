"""SMS-EMOA and NSGA-II over genomes: pymoo's selection and survival, this space's crossover and mutation."""

from typing import Any, Literal

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.evolvers import CHVRoulette, Evolver, Proposal, RandomSearch
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.operators import Array
from lightning_gvae.rng import stream_key

__all__ = ["ALGORITHMS", "PymooEvolver", "build_evolver"]

MUTATIONS = 3  # a child has 1 .. MUTATIONS gene mutations
CROSSOVER = 0.9  # probability; other children are mutated copies


class PymooEvolver(Evolver):
    """A population-based algorithm of pymoo.

    Children with the phenotype of a member or of each other are made anew; if that does not help, random genomes take
    their place.

    Args:
        algorithm: ``sms_emoa`` (selection by contribution to the hypervolume, in objectives scaled by the population)
            or ``nsga2``.
        kwargs: As for :class:`~lightning_gvae.evolution.architecture.Evolver`.

    References:
        Beume, Naujoks, Emmerich, SMS-EMOA, 2007. Deb, Pratap, Agarwal, Meyarivan, NSGA-II, 2002. Blank and Deb, pymoo,
        2020.
    """

    def __init__(self, *args: Any, algorithm: Literal["sms_emoa", "nsga2"] = "sms_emoa", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = algorithm
        self._problem = Problem(n_var=1, n_obj=len(self.reference), vtype=object)
        same = _SamePhenotype(self)
        stream, known = self._stream(), set[str]()
        first = [self._draw(lambda: self.space.sample(stream), known) for _ in range(self.size)]
        make = {"sms_emoa": SMSEMOA, "nsga2": NSGA2}[algorithm]
        self._algorithm = make(pop_size=self.size, sampling=_population(first), eliminate_duplicates=same)
        self._algorithm.mating = _GenomeMating(self.space, self._algorithm.mating.selection, eliminate_duplicates=same)
        seed = stream_key(self.seed, f"pymoo/{algorithm}") % 2**31
        self._algorithm.setup(self._problem, seed=seed, termination=NoTermination())
        self._offspring: Any = None

    @property
    def population(self) -> list[int]:
        """Members that survived."""
        return [int(member.get("number")) for member in self._algorithm.pop] if self._algorithm.pop is not None else []

    def _propose(self) -> list[Proposal]:
        offspring = self._algorithm.ask()
        offspring = Population.create() if offspring is None else offspring
        if missing := self.size - len(offspring):
            stream = self._stream()
            known = {genome.key for genome in _genomes(offspring)}
            fill = _population([self._draw(lambda: self.space.sample(stream), known) for _ in range(missing)])
            offspring = Population.merge(offspring, fill)
        for at, member in enumerate(offspring):
            member.set("number", self.asked + at)
        self._offspring = offspring
        return [
            Proposal(genome, member.get("parents") or ())
            for genome, member in zip(_genomes(offspring), offspring, strict=True)
        ]

    def _receive(self, proposals: list[Proposal], table: Array) -> None:
        self._algorithm.evaluator.eval(StaticProblem(self._problem, F=table), self._offspring)
        self._algorithm.tell(infills=self._offspring)


class _GenomeMating(InfillCriterion):
    """Two parents by the algorithm's own selection, one child by one-point crossover and mutation."""

    def __init__(self, space: GenomeSpace, selection: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.space, self.selection = space, selection

    def _do(self, problem: Any, pop: Any, n_offsprings: int, random_state: Any = None, **kwargs: Any) -> Any:
        pairs = self.selection(problem, pop, n_offsprings, n_parents=2, random_state=random_state, **kwargs)
        children, parents = [], []
        for pair in pairs:
            first, second = _genomes(pair)
            crossed = random_state.random() < CROSSOVER
            child = self.space.crossover(first, second, random_state) if crossed else first
            children.append(self.space.vary(child, random_state, 1 + int(random_state.integers(MUTATIONS))))
            parents.append(tuple(dict.fromkeys(int(member.get("number")) for member in pair[: 1 + crossed])))
        offspring = _population(children)
        for member, numbers in zip(offspring, parents, strict=True):
            member.set("parents", numbers)
        return offspring


class _SamePhenotype(DuplicateElimination):
    """Twins in effect, not only in genes; what lies outside the region of interest goes the same way."""

    def __init__(self, evolver: Evolver) -> None:
        super().__init__()
        self.evolver = evolver

    def _do(self, pop: Any, other: Any, is_duplicate: np.ndarray) -> np.ndarray:
        seen = set() if other is None else {genome.key for genome in _genomes(other)}
        for at, genome in enumerate(_genomes(pop)):
            if genome.key in seen or (other is None and not self.evolver.feasible(genome)):
                is_duplicate[at] = True
            elif other is None:
                seen.add(genome.key)
        return is_duplicate


def _population(genomes: list[Genome]) -> Any:
    table = np.empty((len(genomes), 1), dtype=object)
    table[:, 0] = genomes
    return Population.new("X", table)


def _genomes(population: Any) -> list[Genome]:
    return [member.X[0] for member in population]


ALGORITHMS = ("chv_roulette", "sms_emoa", "nsga2", "random")


def build_evolver(algorithm: str, space: GenomeSpace, **settings: Any) -> Evolver:
    """A search by name.

    Args:
        algorithm: One of ``ALGORITHMS``.
        space: Where genomes come from.
        settings: As for :class:`~lightning_gvae.evolution.architecture.Evolver`, and ``elitism`` for ``chv_roulette``.

    Raises:
        ConfigError: The name is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"`algorithm` must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    if algorithm == "chv_roulette":
        return CHVRoulette(space, **settings)
    settings.pop("elitism", None)
    if algorithm == "random":
        return RandomSearch(space, **settings)
    return PymooEvolver(space, algorithm="sms_emoa" if algorithm == "sms_emoa" else "nsga2", **settings)
