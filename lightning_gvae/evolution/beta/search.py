"""The search for the KL weight: a genetic algorithm as ask and tell, without a trainer and without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.errors import CheckpointError, ConfigError, checked_choice, checked_count, checked_number
from lightning_gvae.evolution.beta.genes import Gene, from_unit, steps, to_unit
from lightning_gvae.evolution.beta.goal import Goal
from lightning_gvae.evolution.beta.proposals import Method, Proposals
from lightning_gvae.evolution.beta.settings import ConvergenceSettings, FitnessSettings, VariationSettings
from lightning_gvae.evolution.beta.target_kl import TargetKL, as_target_kl
from lightning_gvae.evolution.beta.trust_region import TrustRegion
from lightning_gvae.evolution.beta.variation import spread, without_repeats
from lightning_gvae.evolution.operators import Array
from lightning_gvae.io.settings import as_settings, differences
from lightning_gvae.renames import renamed_keys, takes_former_names
from lightning_gvae.rng import numpy_stream

__all__ = ["BetaGeneration", "BetaSearch", "Exit"]

Exit = Literal["retrain", "give_up", "converge", "asleep"]
OWNER = "lightning_gvae.evolution.beta.BetaSearch"  # in the table of former names
_VERSION = 1


class BetaGeneration(NamedTuple):
    """Decision of a generation.

    Args:
        exit: How it ended.
        genome: Gene values to train with, ``(d,)``.
        fitness: Of each candidate, ``(P,)``.
        best: Index of the candidate that the genome is.
    """

    exit: Exit
    genome: tuple[float, ...]
    fitness: Array
    best: int


@takes_former_names("lightning_gvae.evolution.beta.BetaSearch")
class BetaSearch:
    r"""Variational genetic algorithm over the KL weight (and further genes, if wanted).

    One generation is ``ask`` (candidates to look ahead with), the caller's look-ahead, and ``tell`` (the D and R that
    each candidate led to). Candidates are the incumbent, the other survivors and their children, ``survivors +
    children`` in all; no genome is scored twice. All stand within the trust region around the incumbent; survivors
    that it has left behind are replaced by fresh draws in it. There are three exits:

    - *retrain*: the best candidate beats the incumbent by more than ``fitness.min_improvement`` and becomes the
      incumbent;
    - *give up*: it does not, the incumbent stays; after ``patience`` such generations in a row the worse half of the
      population is drawn afresh;
    - *converge*: the weights as they are hold :math:`|R - C| \le \tau C` and the genome has moved by less than
      ``convergence.std`` over the last ``convergence.window`` generations. The search sleeps: ``ask`` returns no
      candidates until C changes, R leaves the tolerance or the genome is overridden from outside. Without a target it
      never sleeps.

    The default weights make the target count ten times as much as the ELBO. With one gene the two only conflict
    (every beta but 1 costs ELBO), and the ELBO then bounds the betas that can be reached to
    :math:`1 \pm (w_T / w_E)\,\mathrm{NELBO} / C`: at equal weights 1 + 12 for 10 nats on
    MNIST. Every draw comes from a stream keyed by ``(seed, tag, generation)``; nothing random is stored.

    Args:
        target: KL to steer to, nats per image: a number, a :class:`TargetKL`, or ``None`` (ELBO only).
        method: ``"ga"``; ``"cma"``: as many candidates, the incumbent and draws of a CMA-ES put into the trust region,
            for more than three genes; or ``"random"``: as many, the incumbent and uniform draws in the trust region.
        genes: What evolves. Default: ``beta`` in [0.01, 100] on a log scale.
        tolerance: Half width tau of the band around the target relative to C, in (0, 1).
        patience: Generations without a better candidate before half the population is drawn afresh, at least 1.
        variation: How many candidates there are and where they come from.
        fitness: What makes a candidate better.
        convergence: When the search sleeps.
        seed: Seed of the run.

    The three groups may be given as mappings; ``None`` takes their defaults.

    Raises:
        ConfigError: an argument is out of its range, or the fitness needs a target and there is none.

    >>> search = BetaSearch(target=10.0, seed=1)
    >>> candidates = search.ask(step=500, genome=[1.0], reference=(80.0, 20.0))
    >>> candidates.shape, float(candidates[0, 0])
    ((8, 1), 1.0)
    >>> rates = 20.0 - 15.0 * np.log(candidates[:, 0])
    >>> search.tell(np.stack([100.0 - rates, rates], axis=1)).exit
    'retrain'
    """

    def __init__(
        self,
        target: float | TargetKL | None = None,
        method: Method = "ga",
        genes: Sequence[Gene] | None = None,
        tolerance: float = 0.05,
        patience: int = 3,
        variation: VariationSettings | Mapping[str, Any] | None = None,
        fitness: FitnessSettings | Mapping[str, Any] | None = None,
        convergence: ConvergenceSettings | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.target = as_target_kl(target)
        self.method = method
        self.genes = tuple(genes) if genes is not None else (Gene("beta", 0.01, 100.0),)
        self.tolerance, self.patience = tolerance, patience
        self.variation = as_settings(VariationSettings, variation, "variation")
        self.fitness = as_settings(FitnessSettings, fitness, "fitness")
        self.convergence = as_settings(ConvergenceSettings, convergence, "convergence")
        self.seed = seed
        self._check()

        self.goal = Goal(self.fitness, tolerance)
        self.proposals = Proposals(method, self.genes, self.variation)
        self.trust = TrustRegion(self.genes, self.variation.delta)
        self.generation = 0
        self.asleep = False
        self.genome: tuple[float, ...] = ()
        self.population = np.empty((0, len(self.genes)))
        self.population_fitness = np.empty(0)
        self.stagnation = 0
        self.history: list[list[float]] = []
        self.target_kl: float | None = None
        self.exit: Exit | None = None
        self._asked: tuple[Array, Array, Array] | None = None

    @property
    def budget(self) -> int:
        """Candidates of an ordinary generation."""
        return self.variation.survivors + self.variation.children

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what is to be measured of a candidate beside D and R."""
        return self.goal.measured

    def ask(self, step: int, genome: ArrayLike, reference: ArrayLike) -> Array:
        """Candidates of the next generation, the genome in force first.

        Args:
            step: Optimiser steps done.
            genome: Gene values ``(d,)`` the run trains with at present; adopted if they are not the search's own.
            reference: D and R of the current weights on the probe, nats per image, and what is ``measured``,
                ``(2 + S,)``.

        Returns:
            Gene values ``(P, d)``, all distinct; ``(0, d)`` while the search sleeps.

        Raises:
            ConfigError: a gene value lies outside its bounds, or the KL observed cannot serve as target.
        """
        now = np.asarray(reference, dtype=np.float64)
        self._adopt(np.asarray(genome, dtype=np.float64))
        self._follow_target(step, float(now[1]))
        off_target = self.goal.is_missed(now, self.target_kl)
        if self.asleep and off_target:
            self._wake()
        if self.asleep or (not off_target and self._still()):
            self.exit = "asleep" if self.asleep else "converge"
            self.asleep = True
            self.generation += 1
            return np.empty((0, len(self.genes)))
        positions = self._candidates()
        values = from_unit(self.genes, positions)
        values[0] = self.genome  # not its round trip through the logarithm
        self._asked = positions, values, now
        return values

    def tell(self, scores: ArrayLike) -> BetaGeneration:
        """Select survivors and decide about the incumbent.

        Args:
            scores: ``(P, 2 + S)`` of D and R that each candidate reached, nats per image, and what is ``measured``; a
                candidate that is not finite never wins.

        Raises:
            RuntimeError: ``tell`` was called before ``ask``.
            ValueError: there are not as many scores as candidates, or as many columns as there should be.
        """
        if self._asked is None:
            raise RuntimeError("tell() was called before ask(); while the search sleeps there is nothing to tell")
        positions, values, reference = self._asked
        fitness = self.goal.fitness(scores, reference, self.target_kl)
        if len(fitness) != len(positions):
            raise ValueError(f"`scores` must have one row per candidate ({len(positions)}), got {len(fitness)}")
        self._asked = None
        self.proposals.learn(positions, fitness)
        order = np.argsort(-fitness, kind="stable")
        best = int(order[0])
        kept = order[: self.variation.survivors]
        kept = kept[np.isfinite(fitness[kept])]
        self.population, self.population_fitness = positions[kept], fitness[kept]
        better = bool(fitness[best] > fitness[0] + self.fitness.min_improvement)
        if better:
            self.trust.moved(positions[best] - positions[0])
            self.genome = tuple(values[best].tolist())
            self.stagnation = 0
        else:
            best = 0
            self.stagnation += 1
        if self.stagnation >= self.patience:
            self._resample()
        self.history = [*self.history, (self._position / steps(self.genes)).tolist()][-self.convergence.window :]
        self.generation += 1
        self.exit = "retrain" if better else "give_up"
        return BetaGeneration(self.exit, self.genome, fitness, best)

    def settings(self) -> dict[str, Any]:
        """Constructor arguments other than the target, as plain values."""
        return {
            "method": self.method,
            "genes": [gene.settings() for gene in self.genes],
            "tolerance": self.tolerance,
            "patience": self.patience,
            "variation": asdict(self.variation),
            "fitness": asdict(self.fitness),
            "convergence": asdict(self.convergence),
            "seed": self.seed,
        }

    def state_dict(self) -> dict[str, Any]:
        """State of a search for a resumed run, as plain numbers, strings and lists."""
        return {
            "version": _VERSION,
            "settings": self.settings(),
            "target": None if self.target is None else self.target.settings(),
            "target_state": None if self.target is None else self.target.state_dict(),
            "target_kl": self.target_kl,
            "generation": self.generation,
            "asleep": self.asleep,
            "genome": list(self.genome),
            "population": self.population.tolist(),
            "population_fitness": self.population_fitness.tolist(),
            "stagnation": self.stagnation,
            "trust": self.trust.state_dict(),
            "history": [list(row) for row in self.history],
            "cma": self.proposals.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> str | None:
        """Continue from ``state_dict()``.

        Returns:
            ``None``, or a sentence for the log if the target was changed; the search is then awake.

        Raises:
            CheckpointError: the state is of another version or of a search with other settings.
        """
        if state.get("version") != _VERSION:
            raise CheckpointError(
                f"the stored search has version {state.get('version')!r}, expected {_VERSION}; "
                "continue it with the release that wrote it"
            )
        changed = differences(renamed_keys(state["settings"], OWNER), self.settings())
        if changed:
            raise CheckpointError(
                "the stored search has other settings: " + "; ".join(changed) + ". Restore them or start a new run"
            )
        self.generation = int(state["generation"])
        self.asleep = bool(state["asleep"])
        self.genome = tuple(state["genome"])
        self.population = np.array(state["population"], dtype=np.float64).reshape(-1, len(self.genes))
        self.population_fitness = np.array(state["population_fitness"], dtype=np.float64)
        self.stagnation = int(state["stagnation"])
        self.trust.load_state_dict(state["trust"])
        self.history = [list(row) for row in state["history"]]
        self.target_kl = state["target_kl"] if "target_kl" in state else state["current_target"]  # until release 0.1
        self._asked = None
        self.proposals.load_state_dict(state.get("cma"))  # until release 0.1 there was none
        now = None if self.target is None else self.target.settings()
        if state["target"] == now:
            if self.target is not None:
                self.target.load_state_dict(state["target_state"])
            return None
        self._wake()
        return f"the target of the search was {state['target']}, now {now}"

    @property
    def _position(self) -> Array:
        return to_unit(self.genes, self.genome)

    def _candidates(self) -> Array:
        rng = numpy_stream(self.seed, "beta_search/variation", self.generation)
        return self.proposals.candidates(self._position, self.population, *self.trust.box(self._position), rng)

    def _adopt(self, genome: Array) -> None:
        if genome.tolist() == list(self.genome):
            return
        for gene, value in zip(self.genes, genome.tolist(), strict=True):
            if not gene.low <= value <= gene.high:
                raise ConfigError(
                    f"`{gene.name}` must lie in the bounds of its gene, [{gene.low}, {gene.high}], got {value}; "
                    "change the value or widen the gene"
                )
        self.genome = tuple(genome.tolist())
        self.proposals.forget()
        self._wake()

    def _follow_target(self, step: int, rate: float) -> None:
        if self.target is None:
            return
        self.target.observe(rate)
        target = self.target.at(step)
        if target != self.target_kl:
            self.target_kl = target
            self._wake()

    def _still(self) -> bool:
        window, std = self.convergence.window, self.convergence.std
        return len(self.history) == window and bool((np.std(self.history, axis=0) < std).all())

    def _wake(self) -> None:
        self.asleep = False
        self.stagnation = 0
        self.trust.reset()
        self.history = []

    def _resample(self) -> None:
        """Replace the worse half of the population, the incumbent never."""
        rng = numpy_stream(self.seed, "beta_search/resample", self.generation)
        low, high = self.trust.box(self._position)
        redrawn = self.variation.survivors // 2
        keep = self.population[: self.variation.survivors - redrawn]
        self.population = without_repeats(keep, spread(rng, low, high, redrawn), low, high, rng)
        self.population_fitness = np.concatenate(
            [self.population_fitness[: len(keep)], np.full(len(self.population) - len(keep), -np.inf)]
        )
        self.stagnation = 0

    def _check(self) -> None:
        names = [gene.name for gene in self.genes]
        checked_choice("method", self.method, get_args(Method))
        if self.method == "cma" and self.budget < 3:
            raise ConfigError(
                "`method` 'cma' needs three candidates or more, `variation.survivors` + `variation.children` is "
                f"{self.budget}"
            )
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"`genes` must be one or more, with distinct names, got {names!r}")
        checked_number("tolerance", self.tolerance, lambda v: 0 < v < 1, "must lie between 0 and 1")
        checked_count("patience", self.patience, unit="generations")
        if self.target is None and self.fitness.needs_target:
            raise ConfigError(
                "`target` is missing: give a KL in nats per image or a target that changes with the step, or "
                "set-points of measures (`fitness.targets`), or set `fitness.target_weight` to 0 to evolve for the "
                "ELBO alone"
            )
