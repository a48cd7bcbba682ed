"""An architecture search: generations are proposed, trained over the ranks, journalled and told."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from lightning_gvae.errors import ConfigError, checked_number
from lightning_gvae.evolution.architecture.candidate_trainers import CandidateTrainer, Result
from lightning_gvae.evolution.architecture.evolvers import Evolver, Proposal
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.group import SearchGroup, longest_first
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.architecture.objectives import SearchObjective, row
from lightning_gvae.evolution.architecture.result_cache import ResultCache
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import hypervolume, knee, non_dominated

__all__ = ["ArchitectureSearch", "Choice", "Entry", "Members", "Progress", "Region", "choose", "pixel_entropy"]

ROUNDING = 1e-6  # of the rows in the front

Choice = Literal["knee", "min_loss_under_loc", "index"]
Members = Literal["archive", "population"]


class Entry(NamedTuple):
    """A proposal and what became of it.

    Args:
        number: Counted from the first proposal.
        generation: Counted from 0.
        proposal: Genome and parents.
        result: What was measured.
        row: Objectives.
    """

    number: int
    generation: int
    proposal: Proposal
    result: Result
    row: list[float]


class Progress(NamedTuple):
    """Position of a search.

    Args:
        phase: ``search``, ``finetune`` or ``probe``.
        generation: Under way, from 0.
        evaluated: Proposals of this phase that are settled.
        trained: Candidates that this search has results of training for.
        best: Least first objective so far; NaN if there is none.
        hypervolume: Of all candidates so far.
    """

    phase: str
    generation: int
    evaluated: int
    trained: int
    best: float
    hypervolume: float


@dataclass(frozen=True)
class Region:
    """Limits of the region of interest; what lies outside is not trained.

    Args:
        loc_max: Largest level of compression; None for any.
        max_macs: Most MACs of one image forward; None for any.

    Raises:
        ConfigError: A limit is negative or no number.
    """

    loc_max: float | None = None
    max_macs: float | None = None

    def __post_init__(self) -> None:
        for name in ("loc_max", "max_macs"):
            if getattr(self, name) is not None:
                checked_number(f"limits.{name}", getattr(self, name), lambda v: v >= 0, "must be 0 or more, or null")

    def holds(self, known: Mapping[str, float]) -> bool:
        """Whether a candidate with these costs is inside."""
        return (self.loc_max is None or known["loc"] <= self.loc_max) and (
            self.max_macs is None or known["macs"] <= self.max_macs
        )


class ArchitectureSearch:
    """Runs an algorithm over candidates, on all ranks alike.

    Every rank asks and tells the same; each trains its share, the longest first. What the journal knows is not trained
    again, so a search that was stopped goes on with identical results, and so does one on another number of ranks. Not
    trained either: a phenotype seen before; what lies outside the region; and what could not improve the front even
    with the least loss there is, the pixels' own entropy.

    Args:
        evolver: Proposes.
        trainer: Trains, on this rank.
        objectives: What is minimised, as many as the evolver's reference point has values.
        costs: ``loc``, ``macs`` and ``parameters`` of a genome, without training.
        journal: Remembers.
        group: The ranks.
        seed: Of the candidates.
        region: What is of interest.
        floor: Lower bound of the loss.
        progress: Called whenever something is known that was not before.
        store: Results that searches with the same data, settings and seed share; None shares nothing.
    """

    def __init__(
        self,
        evolver: Evolver,
        trainer: CandidateTrainer,
        objectives: Sequence[SearchObjective],
        costs: Callable[[Genome], Mapping[str, float]],
        journal: SearchJournal,
        group: SearchGroup,
        seed: int = 0,
        region: Region | None = None,
        floor: float = 0.0,
        progress: Callable[[Progress], None] | None = None,
        store: ResultCache | None = None,
    ) -> None:
        self.evolver, self.trainer, self.objectives, self.costs = evolver, trainer, tuple(objectives), costs
        self.journal, self.group, self.seed = journal, group, seed
        self.region, self.floor, self.progress, self.store = region or Region(), floor, progress, store
        self.entries: list[Entry] = []
        self.volumes: list[float] = []
        self._warned = False
        self.known: dict[str, Result] = group.from_first(journal.open)
        if store is not None:
            group.from_first(store.open)

    def run(self, generations: int) -> None:
        """Go through ``generations`` generations."""
        while self.evolver.generation < generations:
            generation, proposals = self.evolver.generation, self.evolver.ask()
            self.group.agree(f"generation {generation}", {"proposals": [p.genome.key for p in proposals]})
            results = self.evaluate("search", [proposal.genome for proposal in proposals])
            table = [row(result, self.objectives) for result in results]
            start = len(self.entries)
            self.entries += [
                Entry(start + at, generation, proposal, result, values)
                for at, (proposal, result, values) in enumerate(zip(proposals, results, table, strict=True))
            ]
            self.evolver.tell(table)
            self.volumes.append(hypervolume(self._rows(self.entries), self.evolver.reference))
            self._check_ranks(generation, table)
            self._commit("search", self.entries[start:])
            self._check_reference()
            self._tell("search", 0)

    def evaluate(
        self, phase: str, genomes: Sequence[Genome], trainer: CandidateTrainer | None = None, seed: int | None = None
    ) -> list[Result]:
        """Results of ``genomes`` in their order; those that are not known are trained, spread over the ranks.

        Args:
            phase: ``search``, or another name for what the search's rules do not apply to.
            genomes: The candidates.
            trainer: Trains; None is the search's.
            seed: Of the candidates; None is the search's.
        """
        waiting: dict[str, Genome] = {}
        for genome in genomes:
            if self.journal.name(phase, genome.key) not in self.known:
                waiting.setdefault(genome.key, genome)
        settled = {key: self._settled(genome) for key, genome in waiting.items()} if phase == "search" else {}
        for key, result in settled.items():
            if result is not None:
                self.known[self.journal.name(phase, key)] = result
        missing = [genome for key, genome in waiting.items() if settled.get(key) is None]
        self.train(phase, self._not_shared(phase, missing), trainer, seed)
        return [self.known[self.journal.name(phase, genome.key)] for genome in genomes]

    def train(
        self, phase: str, genomes: Sequence[Genome], trainer: CandidateTrainer | None = None, seed: int | None = None
    ) -> None:
        """Train ``genomes``, known or not, each on one rank; arguments as for :meth:`evaluate`."""
        share = longest_first([self.costs(genome)["macs"] for genome in genomes], self.group.world)[self.group.rank]
        mine, found = [genomes[at] for at in share], dict[str, Result]()

        def report(index: int, result: Result) -> None:
            self.journal.note(self.group.rank, phase, mine[index].key, result)
            found[mine[index].key] = result
            if phase == "search" and self.store is not None:
                self.store.add(mine[index].key, result)
            self._tell(phase, len(found))

        (trainer or self.trainer).train(mine, self.seed if seed is None else seed, report)
        for results in self.group.gather(found):
            self.known |= {self.journal.name(phase, key): result for key, result in results.items()}

    def finish(
        self, phase: str, genomes: Sequence[Genome], trainer: CandidateTrainer, seed: int | None = None
    ) -> list[Result]:
        """Results of a phase after the search, for example fine-tuning, journalled like the search's."""
        results = self.evaluate(phase, genomes, trainer, seed)
        self._commit(
            phase, [Entry(at, 0, Proposal(g), r, []) for at, (g, r) in enumerate(zip(genomes, results, strict=True))]
        )
        return results

    def front(self, of: Members = "archive") -> list[Entry]:
        """Non-dominated trained candidates, each phenotype once, by their level of compression.

        Args:
            of: ``archive`` of everything that was trained, or the algorithm's last ``population``, as in the paper.
        """
        members = self.entries if of == "archive" else [self.entries[n] for n in sorted(self.evolver.population)]
        trained = list({e.proposal.genome.key: e for e in reversed(members) if e.result.status == "trained"}.values())
        trained.sort(key=lambda entry: entry.number)
        if not trained:
            return []
        keep = non_dominated(self._rows(trained))
        front = [entry for entry, kept in zip(trained, keep, strict=True) if kept]
        return sorted(front, key=lambda entry: (entry.result.values["loc"], entry.row, entry.number))

    @property
    def seconds(self) -> float:
        """Wall time of all candidates together, those of earlier processes included."""
        return sum(result.seconds for result in self.known.values())

    def _not_shared(self, phase: str, genomes: Sequence[Genome]) -> list[Genome]:
        """Those that no other search has trained; the results of the others become known."""
        store = self.store
        if phase != "search" or store is None:
            return list(genomes)
        # Rank 0 looks: another search may add a result between two ranks' looks.
        shared: dict[str, Result] = self.group.from_first(lambda: store.read([genome.key for genome in genomes]))
        self.known |= {self.journal.name(phase, key): result for key, result in shared.items()}
        return [genome for genome in genomes if genome.key not in shared]

    def _settled(self, genome: Genome) -> Result | None:
        """The result of a candidate that need not be trained."""
        known = dict(self.costs(genome))
        if not self.region.holds(known):
            return Result(known, "outside", "outside the declared region")
        best = [
            self.floor - ROUNDING
            if objective.name == "loss"
            else objective.value(known)
            if objective.best is None
            else objective.best
            for objective in self.objectives
        ]
        front = [entry.row for entry in self.front()]
        reference = self.evolver.reference
        before = hypervolume(front, reference) if front else 0.0
        if front and hypervolume([*front, best], reference) <= before:
            return Result(known, "hopeless", "not even the least possible loss would improve the front")
        return None

    def _commit(self, phase: str, entries: Sequence[Entry]) -> None:
        lines = [
            {
                "phase": phase,
                "number": entry.number,
                "generation": entry.generation,
                "key": entry.proposal.genome.key,
                "genome": entry.proposal.genome.to_dict(),
                "parents": list(entry.proposal.parents),
                "objectives": entry.row,
                **asdict(replace(entry.result, values=dict(entry.result.values))),
            }
            for entry in entries
        ]

        def write() -> None:
            self.journal.commit(phase, lines)
            # Only now, and before any rank goes on: what was noted is in the journal.
            self.journal.forget_notes()

        self.group.from_first(write)

    def _check_ranks(self, generation: int, table: Sequence[Sequence[float]]) -> None:
        """All ranks must have the same Pareto set and go on from the same population; else nothing is journalled."""
        front = [(entry.number, entry.proposal.genome.key, entry.row) for entry in self.front()]
        facts = {"objectives": table, "Pareto set": front, "population": sorted(self.evolver.population)}
        self.group.agree(f"generation {generation}", {**facts, "hypervolume": [self.volumes[-1]]})

    def _check_reference(self) -> None:
        if self._warned:
            return
        for entry in self.front():
            beyond = [
                f"{o.name} {value:g} (reference {limit:g})"
                for o, value, limit in zip(self.objectives, entry.row, self.evolver.reference, strict=True)
                if value >= limit
            ]
            if beyond:
                self._warned = True
                warnings.warn(
                    f"the reference point lies inside the front: a member has {', '.join(beyond)}. It adds nothing to "
                    "the hypervolume, so the search does not look for its like; set `reference` behind everything that "
                    "is of interest",
                    stacklevel=2,
                )
                return

    def _tell(self, phase: str, under_way: int) -> None:
        if self.progress is None:
            return
        front = self.front()
        best = min((entry.row[0] for entry in front), default=math.nan)
        trained = sum(result.status == "trained" for result in self.known.values())
        settled = len(self.entries) if phase == "search" else 0
        volume = self.volumes[-1] if self.volumes else 0.0
        self.progress(Progress(phase, self.evolver.generation, settled + under_way, trained, best, volume))

    @staticmethod
    def _rows(entries: Sequence[Entry]) -> Array:
        return np.array([entry.row for entry in entries])


def choose(front: Sequence[Entry], how: Choice, loc_max: float | None = None, index: int = 1) -> int:
    """Position of the chosen member of a front.

    Args:
        front: As :meth:`ArchitectureSearch.front` gives it.
        how: ``knee``; ``min_loss_under_loc``, the least loss with a level of compression of at most ``loc_max``; or
            ``index``.
        loc_max: For ``min_loss_under_loc``.
        index: For ``index``, counted from 1.

    Raises:
        ConfigError: The front is empty, no member qualifies, or an argument is out of its range.
    """
    if how not in get_args(Choice):
        raise ConfigError(f"`front.choose` must be one of {', '.join(get_args(Choice))}, got {how!r}")
    if not front:
        raise ConfigError("no candidate could be trained, so there is no front; the journal says why each one failed")
    if how == "knee":
        return knee([entry.row for entry in front])
    if how == "index":
        if not 1 <= index <= len(front):
            raise ConfigError(f"`front.index` must be 1 to {len(front)}, the size of the front, got {index}")
        return index - 1
    if loc_max is None:
        raise ConfigError("`front.choose` 'min_loss_under_loc' needs `front.choose_loc_max`, a level of compression")
    inside = [at for at, entry in enumerate(front) if entry.result.values["loc"] <= loc_max]
    if not inside:
        least = min(entry.result.values["loc"] for entry in front)
        raise ConfigError(
            f"no member of the front has a level of compression of at most {loc_max}; the least is {least:.3f}. Raise "
            "`front.choose_loc_max`, or search longer"
        )
    return min(inside, key=lambda at: front[at].result.values["loss"])


def pixel_entropy(images: np.ndarray) -> float:
    """Least cross-entropy that any reconstruction of uint8 images can have, nats, mean over pixels: their own entropy.

    >>> round(pixel_entropy(np.array([0, 255, 128], np.uint8)), 4)
    0.231
    """
    counts = np.bincount(images.reshape(-1), minlength=256).astype(np.float64)
    grey = np.arange(256) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(grey * np.log(grey)) - np.nan_to_num((1 - grey) * np.log1p(-grey))
    return float((counts * entropy).sum() / counts.sum())
