"""The genetic algorithm as tensor operations over runs, individuals and latents at once."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError
from lightning_gvae.evolution.latent.constraint_handling import UNIFORMS, pair_up, pairwise_scores
from lightning_gvae.evolution.latent.engines.generation_history import GenerationHistory
from lightning_gvae.evolution.latent.result import HISTORY, Best, SearchResult
from lightning_gvae.evolution.latent.scoring import Inherited, Scored, Scorer
from lightning_gvae.evolution.latent.settings import GASettings
from lightning_gvae.io.settings import differences
from lightning_gvae.rng import torch_stream

__all__ = ["GAGeneration", "TensorGA", "draw_by_run", "first_normals", "vary"]

BLOCK = 8  # runs that share a stream: few streams to seed, and little drawn in vain for runs of other ranks
LEAST_INHERITED = 64  # numbers of a decoded point from which on one that is known is not decoded again
_VERSION = 1


@dataclass(frozen=True)
class GAGeneration:
    """A scored generation of the runs that still take part.

    Args:
        number: 0 for the initial population.
        runs: Numbers of the runs ``(A,)``.
        latents: ``(A, P, L)``.
        scored: Its decoded points and scores.
        fitness: ``(A, P)``, maximised.
        best: Index of the best individual by Deb's rules, ``(A,)``.
        state: Makes the state to continue from, plain tensors, numbers and strings.
    """

    number: int
    runs: Tensor
    latents: Tensor
    scored: Scored
    fitness: Tensor
    best: Tensor
    state: Callable[[], dict[str, Any]] = field(repr=False)


def draw_by_run(
    seed: int, tag: str, generation: int, runs: Tensor, make: Callable[[torch.Generator, int], Tensor]
) -> Tensor:
    """Draws ``(A, ...)`` of which run r gets the same whatever other runs there are.

    Args:
        seed: Seed of the search.
        tag: What is drawn.
        generation: When.
        runs: Numbers of the runs ``(A,)``, ascending, on the CPU.
        make: From a generator and a number of rows, at most :data:`BLOCK`, to that many rows, which must be the first
            ones of what it makes of a larger number.
    """
    parts = []
    for block, of_block in itertools.groupby(runs.tolist(), lambda run: run // BLOCK):
        rows = [run - block * BLOCK for run in of_block]
        drawn = make(torch_stream(seed, f"latent/{tag}", generation, block), rows[-1] + 1)
        parts.append(drawn if len(rows) == len(drawn) else drawn[rows])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def first_normals(generator: torch.Generator, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """First rows ``(rows, columns)`` of a block of standard normal numbers; the stream goes on as after the block.

    torch makes one normal number of one uniform one, in groups of 16; what is not wanted need not be made normal.
    """
    if columns % 16:
        return torch.randn((BLOCK, columns), generator=generator, dtype=dtype)[:rows]
    normals = torch.randn((rows, columns), generator=generator, dtype=dtype)
    if rows < BLOCK:
        torch.rand((BLOCK - rows, columns), generator=generator, dtype=dtype)
    return normals


def vary(
    parents: Tensor, fitness: Tensor, settings: GASettings, uniforms: Tensor, normals: Tensor
) -> tuple[Tensor, Tensor]:
    """Children of a population ``(A, P, L)`` before they are clamped: selection, crossover, mutation.

    Args:
        parents: ``(A, P, L)``.
        fitness: ``(A, P)``, maximised.
        settings: Probabilities.
        uniforms: :func:`uniform_count` numbers a run in [0, 1), ``(A, N)``.
        normals: ``(A, P, L)`` standard normal numbers.

    Returns:
        The children ``(A, P, L)``, and the index of the parent that each was before crossover, ``(A, P)``.
    """
    runs, population, size = parents.shape
    half = population // 2
    counts = [population * settings.tournament, half, half * size, population, population * size]
    select, cross, swap, mutate, gene = uniforms.split(counts, dim=1)

    drawn = (select * population).long().view(runs, population, settings.tournament)
    rivals = fitness.gather(1, drawn.flatten(1)).view_as(drawn)
    winners = drawn.gather(2, rivals.argmax(2, keepdim=True)).squeeze(2)
    children = parents.gather(1, winners.unsqueeze(2).expand(-1, -1, size))

    pairs = children.view(runs, half, 2, size)
    swapped = (cross < settings.crossover).unsqueeze(-1) & (swap.view(runs, half, size) < settings.swap)
    children = torch.where(swapped.unsqueeze(2), pairs.flip(2), pairs).view(runs, population, size)

    mutated = (mutate < settings.mutation).unsqueeze(-1) & (gene.view_as(children) < settings.gene_mutation)
    return children + torch.where(mutated, settings.sigma * normals, 0.0), winners


def uniform_count(population: int, size: int, tournament: int) -> int:
    """Uniform numbers that :func:`vary` uses for each run."""
    half = population // 2
    return population * tournament + half + half * size + population + population * size


class TensorGA:
    """All runs in one tensor program: one decode a generation, whatever their number.

    Two of three children of the published algorithm are copies of a parent. Where points are images they take their
    point and its scores over, and only the others are decoded.

    Args:
        scorer: Decodes and scores.
        low: Lower bounds ``(L,)``.
        high: Upper bounds ``(L,)``.
        runs: Numbers of the runs ``(R,)``, ascending.
        settings: Of the algorithm.
        seed: Of every draw.
        stop_when_feasible: A run that has a valid individual after a generation (not: at the start) ends and leaves
            the batch.
    """

    def __init__(
        self,
        scorer: Scorer,
        low: Tensor,
        high: Tensor,
        runs: Tensor,
        settings: GASettings,
        seed: int,
        stop_when_feasible: bool = False,
    ) -> None:
        self.scorer, self.low, self.high, self.runs = scorer, low, high, runs
        self.settings, self.seed, self.stop_when_feasible = settings, seed, stop_when_feasible
        self._left = torch.arange(len(runs))  # positions in `runs` that still take part
        self._final: Best | None = None
        self._number = -1

    def run(
        self, on_generation: Callable[[GAGeneration], None] | None = None, state: Mapping[str, Any] | None = None
    ) -> SearchResult:
        """Run to the end, from the start or from the state of an earlier generation."""
        at_once = self.stop_when_feasible or on_generation is not None
        self._past = GenerationHistory(len(self.runs), self.settings.generations, self.high - self.low, at_once)
        if state is None:
            self._enter(self._initial(), 0, on_generation)
        else:
            self._load(state)
        while self._number < self.settings.generations and len(self._left):
            children, parents = self._children()
            self._enter(children, self._number + 1, on_generation, self._inherited(children, parents))
        past = self._past
        past.settle()
        self._finish(torch.ones_like(self._left, dtype=torch.bool))
        history = {name: past.history[..., column].clone() for column, name in enumerate(HISTORY)}
        assert self._final is not None and past.ever is not None  # generation 0 was entered
        return SearchResult(self.runs, self._final, past.ever, history, past.lengths, self.scorer.decodes)

    def _initial(self) -> Tensor:
        shape = (self.settings.population, len(self.low))
        uniforms = self._draw("start", 0, lambda generator, rows: self._rand((rows, *shape), generator))
        return (self.low + (self.high - self.low) * uniforms).clamp(self.low, self.high)

    def _children(self) -> tuple[Tensor, Tensor]:
        """The next population ``(A, P, L)`` and whom each individual descends from ``(A, P)``."""
        settings, size = self.settings, len(self.low)
        count = uniform_count(settings.population, size, settings.tournament)
        genes = settings.population * size

        def make(generator: torch.Generator, rows: int) -> Tensor:
            normals = first_normals(generator, rows, genes, self.low.dtype)
            return torch.cat([self._rand((rows, count), generator), normals], 1)

        uniforms, normals = self._draw("vary", self._number + 1, make).split([count, genes], 1)
        children, parents = vary(self._latents, self._fitness, settings, uniforms, normals.view_as(self._latents))
        children = children.clamp(self.low, self.high)
        if settings.elitism:
            elite = self._fitness.topk(settings.elitism, dim=1).indices
            children[:, -settings.elitism :] = self._latents.gather(1, elite.unsqueeze(-1).expand(-1, -1, size))
            parents[:, -settings.elitism :] = elite
        return children, parents

    def _inherited(self, children: Tensor, parents: Tensor) -> Inherited | None:
        """Scores that unchanged copies inherit from their parents; none if points are soon made."""
        if self._scored.decoded[0, 0].numel() < LEAST_INHERITED:
            return None
        runs = torch.arange(len(parents), device=parents.device).unsqueeze(1)
        scored = [values[runs.to(values.device), parents.to(values.device)] for values in self._scored]
        return Inherited(Scored(*scored), (self._latents[runs, parents] != children).any(2))

    def _enter(
        self,
        latents: Tensor,
        number: int,
        on_generation: Callable[[GAGeneration], None] | None,
        inherited: Inherited | None = None,
    ) -> None:
        """Score a generation and let it take the place of the one before."""
        scored = self.scorer(latents, number, inherited)
        self._number, self._latents, self._scored = number, latents, scored
        self._fitness = self._score(scored)
        self._past.note(number, self._left, latents, scored)
        if number == 0:
            self._final = Best.of(latents, scored, self._fitness.argmax(1))
        if on_generation is not None:
            runs = self.runs[self._left]
            on_generation(GAGeneration(number, runs, latents, scored, self._fitness, self._past.best, self.state_dict))
        if self.stop_when_feasible and number > 0:
            self._finish((scored.violations <= 0).all(-1).any(1).cpu())

    def _score(self, scored: Scored) -> Tensor:
        if self.settings.fitness != "tournament":
            return self.settings.score(scored.objective, scored.violations, None)
        population = self.settings.population

        def make(generator: torch.Generator, rows: int) -> Tensor:
            return torch.rand(rows, population, UNIFORMS, generator=generator)

        return pairwise_scores(scored.objective, scored.violations, pair_up(self._draw("duels", self._number, make)))

    def _finish(self, done: Tensor) -> None:
        """Keep the final individual of the runs ``done``, a mask over those left, and go on without them."""
        if not done.any():
            return
        fitness = self._fitness
        if self.stop_when_feasible:
            # A tournament may prefer an infeasible one, but the run ends because of the others.
            valid = (self._scored.violations <= 0).all(-1)
            fitness = fitness.masked_fill(~valid & valid.any(1, keepdim=True), -torch.inf)
        chosen = Best.of(self._latents, self._scored, fitness.argmax(1))
        assert self._final is not None
        self._final.put(self._left[done], chosen.select(done))
        kept = ~done
        self._left = self._left[kept]
        self._latents, self._fitness = (values[kept.to(values.device)] for values in (self._latents, self._fitness))
        self._scored = Scored(*(values[kept.to(values.device)] for values in self._scored))

    def _draw(self, tag: str, generation: int, make: Callable[[torch.Generator, int], Tensor]) -> Tensor:
        # On the CPU, so that a seed means the same on every device.
        return draw_by_run(self.seed, tag, generation, self.runs[self._left], make).to(self.low.device)

    def _rand(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=self.low.dtype)

    def state_dict(self) -> dict[str, Any]:
        """State to go on from, as plain tensors, numbers and strings."""
        past = self._past
        past.settle()
        assert self._final is not None and past.ever is not None
        tensors = {
            "left": self._left,
            "latents": self._latents,
            "decoded": self._scored.decoded,
            "objective": self._scored.objective,
            "violations": self._scored.violations,
            "fitness": self._fitness,
            "history": past.history,
            "lengths": past.lengths,
        }
        return {
            "version": _VERSION,
            "settings": self._facts(),
            "number": self._number,
            "decodes": self.scorer.decodes,
            "tensors": {name: values.clone() for name, values in tensors.items()},
            "final": {name: values.clone() for name, values in self._final.tensors().items()},
            "ever": {name: values.clone() for name, values in past.ever.tensors().items()},
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        stored, mine = (
            {"version": state.get("version"), **state.get("settings", {})},
            {"version": _VERSION, **self._facts()},
        )
        if changed := differences({name: stored.get(name) for name in mine}, mine):
            raise CheckpointError(
                f"the stored latent search is another one: {'; '.join(changed)}. Restore the settings or start anew"
            )
        tensors = state["tensors"]
        past = self._past
        self._left, past.history, past.lengths = (tensors[name].clone() for name in ("left", "history", "lengths"))
        self._latents, self._fitness = tensors["latents"].clone(), tensors["fitness"].clone()
        self._scored = Scored(*(tensors[name].clone() for name in ("decoded", "objective", "violations")))
        self._final, past.ever = (
            Best(**{name: values.clone() for name, values in state[which].items()}) for which in ("final", "ever")
        )
        self._number, self.scorer.decodes = int(state["number"]), int(state["decodes"])
        if self.stop_when_feasible and self._number > 0:
            self._finish((self._scored.violations <= 0).all(-1).any(1).cpu())

    def _facts(self) -> dict[str, Any]:
        return {
            **asdict(self.settings),
            "seed": self.seed,
            "runs": self.runs.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "stop_when_feasible": self.stop_when_feasible,
        }
