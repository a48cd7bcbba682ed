"""Search algorithms over genomes, by ask and tell: what is proposed depends on the seed and on what was told, alone.

``chv_roulette`` is the paper's, ``sms_emoa`` and ``nsga2`` are pymoo's with this space's operators, and ``random`` is
what they must beat.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import contributions
from lightning_gvae.rng import numpy_stream

__all__ = ["CHVRoulette", "Elitism", "Evolver", "Proposal", "RandomSearch", "roulette"]

Elitism = Literal["best", "first_mutated"]
REDRAWS = 100  # of a proposal outside the declared region


class Proposal(NamedTuple):
    """A genome to evaluate.

    Args:
        genome: The genome.
        parents: Numbers of the proposals that it comes from, counted from the first; none of a random draw.
    """

    genome: Genome
    parents: tuple[int, ...] = ()


class Evolver(ABC):
    """Proposes generations of genomes and is told their objectives, all minimised.

    Args:
        space: Where genomes come from.
        population: Genomes a generation, at least 2.
        reference: Reference point of the hypervolume, one value an objective.
        seed: Of all draws.
        feasible: Region of interest; proposals outside are redrawn, up to 100 times each. None: everything.

    Raises:
        ConfigError: An argument is out of its range.
    """

    name = ""

    def __init__(
        self,
        space: GenomeSpace,
        population: int = 20,
        reference: Sequence[float] = (4.0, 12.0),
        seed: int = 0,
        feasible: Callable[[Genome], bool] | None = None,
    ) -> None:
        self.space, self.size = space, checked_count("population", population, least=2, unit="genomes")
        self.reference = tuple(float(value) for value in reference)
        if len(self.reference) < 2 or not np.isfinite(self.reference).all():
            raise ConfigError(f"`reference` must be at least two finite numbers, got {reference!r}")
        self.seed = seed
        self.feasible = feasible or (lambda genome: True)
        self.told: list[list[list[float]]] = []
        self.asked = 0
        self._pending: list[Proposal] | None = None

    @property
    def generation(self) -> int:
        """Generations told."""
        return len(self.told)

    @property
    @abstractmethod
    def population(self) -> list[int]:
        """Numbers of the proposals that the next generation comes from."""

    def ask(self) -> list[Proposal]:
        """The next generation; the same until it is told."""
        if self._pending is None:
            self._pending = self._propose()
            self.asked += len(self._pending)
        return self._pending

    def tell(self, objectives: Sequence[Sequence[float]] | Array) -> None:
        """Objectives ``(P, M)`` of the genomes asked for, in their order.

        Raises:
            ConfigError: Nothing was asked for, the table has another shape, or a value is not finite.
        """
        if self._pending is None:
            raise ConfigError("`tell` was called before `ask`")
        table = np.asarray(objectives, dtype=np.float64)
        if table.shape != (len(self._pending), len(self.reference)) or not np.isfinite(table).all():
            raise ConfigError(
                f"`objectives` must be finite, one row of {len(self.reference)} for each of the {len(self._pending)} "
                f"genomes asked for, got {table.tolist()}"
            )
        self._receive(self._pending, table)
        self.told.append(table.tolist())
        self._pending = None

    def state_dict(self) -> dict[str, Any]:
        """State as plain containers: what was told is enough."""
        return {"algorithm": self.name, "seed": self.seed, "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go through :meth:`state_dict`'s generations again.

        Raises:
            CheckpointError: This one was used already, or the state is of another algorithm or seed.
        """
        found, wanted = (state["algorithm"], state["seed"]), (self.name, self.seed)
        if self.told or found != wanted:
            raise CheckpointError(f"the state of {found} cannot be loaded into a search {wanted} with {self.told=}")
        for table in state["told"]:
            self.ask()
            self.tell(table)

    def _stream(self) -> np.random.Generator:
        # All algorithms begin with the same genomes, so that at equal seeds they differ by what they do with them.
        name = self.name if self.generation else "first"
        return numpy_stream(self.seed, f"architecture/{name}", self.generation)

    def _draw(self, make: Callable[[], Genome], known: set[str] | None = None) -> Genome:
        """A genome in the region, and with a phenotype that is not ``known``, if one is found in time."""
        genome = make()
        for _ in range(REDRAWS):
            if self.feasible(genome) and (known is None or genome.key not in known):
                break
            genome = make()
        if known is not None:
            known.add(genome.key)
        return genome

    @abstractmethod
    def _propose(self) -> list[Proposal]:
        """The next generation."""

    @abstractmethod
    def _receive(self, proposals: list[Proposal], table: Array) -> None:
        """Take objectives ``(P, M)``."""


class RandomSearch(Evolver):
    """Every genome drawn anew, no phenotype twice."""

    name = "random"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: set[str] = set()

    @property
    def population(self) -> list[int]:
        """The generation told last."""
        return list(range((self.generation - 1) * self.size, self.generation * self.size)) if self.generation else []

    def _propose(self) -> list[Proposal]:
        stream = self._stream()
        return [Proposal(self._draw(lambda: self.space.sample(stream), self._known)) for _ in range(self.size)]

    def _receive(self, proposals: list[Proposal], table: Array) -> None:
        pass


class CHVRoulette(Evolver):
    """The paper's algorithm, as released.

    Fitness is the hypervolume that a member contributes to its own population. 95 % of the next one, rounded down, are
    children by one-point crossover of two parents, each picked by a roulette on raw fitness; the rest are elites. Of a
    child, a number of genes drawn from 0 .. k - 1, k = max(3, generation // 4), mutates.

    Args:
        elitism: ``best`` keeps the fittest members unchanged. ``first_mutated`` does what the released code does: its
            sort has no effect, so the first members are kept, and mutated like all others.
        kwargs: As for :class:`Evolver`.

    Raises:
        ConfigError: ``elitism`` is unknown, or as for :class:`Evolver`.

    References:
        Dimanov et al., MONCAE, 2021, section 3 and appendix B, and the released code.
    """

    name = "chv_roulette"

    def __init__(self, *args: Any, elitism: Elitism = "best", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if elitism not in get_args(Elitism):
            raise ConfigError(f"`elitism` must be one of {', '.join(get_args(Elitism))}, got {elitism!r}")
        self.elitism = elitism
        self._members: list[tuple[int, Genome]] = []
        self._fitness = np.zeros(0)

    @property
    def population(self) -> list[int]:
        """The generation told last."""
        return [number for number, _ in self._members]

    def mutations(self) -> int:
        """k: a child has 0 .. k - 1 gene mutations."""
        # The first children are made after generation 0; the reference counts generations from there.
        return max(3, (self.generation - 1) // 4)

    def _propose(self) -> list[Proposal]:
        stream = self._stream()
        if not self._members:
            return [Proposal(self._draw(lambda: self.space.sample(stream))) for _ in range(self.size)]
        children = int(0.95 * self.size)
        made = [self._child(stream) for _ in range(children)]
        order = np.arange(self.size) if self.elitism == "first_mutated" else np.argsort(-self._fitness, kind="stable")
        for at in order[: self.size - children]:
            number, genome = self._members[at]
            made.append(
                Proposal(self._mutated(genome, stream) if self.elitism == "first_mutated" else genome, (number,))
            )
        return made

    def _child(self, stream: np.random.Generator) -> Proposal:
        chosen: list[int] = []

        def make() -> Genome:
            chosen[:] = [roulette(self._fitness, stream) for _ in range(2)]
            first, second = (self._members[at][1] for at in chosen)
            return self._mutated(self.space.crossover(first, second, stream), stream)

        genome = self._draw(make)
        return Proposal(genome, tuple(dict.fromkeys(self._members[at][0] for at in chosen)))

    def _mutated(self, genome: Genome, stream: np.random.Generator) -> Genome:
        return self.space.mutate(genome, stream, int(stream.integers(self.mutations())))

    def _receive(self, proposals: list[Proposal], table: Array) -> None:
        first = self.asked - len(proposals)
        self._members = [(first + at, proposal.genome) for at, proposal in enumerate(proposals)]
        self._fitness = contributions(table, self.reference)


def roulette(fitness: Array, rng: np.random.Generator) -> int:
    """Index drawn in proportion to non-negative ``fitness``; 0 if all of it is zero, as the released code does."""
    total = float(fitness.sum())
    if total <= 0:
        return 0
    place = int(np.searchsorted(np.cumsum(fitness), rng.random() * total, side="right"))
    return min(place, len(fitness) - 1)
