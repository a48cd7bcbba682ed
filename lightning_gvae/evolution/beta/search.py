"""The search for the KL weight: a genetic algorithm as ask and tell, without a trainer and without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.beta import fitness as fitnesses
from lightning_gvae.evolution.beta.genes import Gene, from_unit, steps, to_unit
from lightning_gvae.evolution.beta.target_kl import SetPoint, as_set_point
from lightning_gvae.evolution.beta.trust_region import TrustRegion
from lightning_gvae.evolution.beta.variation import Variation, fresh, on_both_sides, spread, without_repeats
from lightning_gvae.evolution.operators import Array
from lightning_gvae.io.settings import differences
from lightning_gvae.rng import numpy_stream

__all__ = ["BetaSearch", "Exit", "Generation", "differences"]

Exit = Literal["retrain", "give_up", "converge", "asleep"]
_VERSION = 1


class Generation(NamedTuple):
    """Decision of a generation: the exit, the genome to train with, and the fitness of each candidate."""

    exit: Exit
    genome: tuple[float, ...]
    fitness: Array
    best: int


class BetaSearch:
    r"""Variational genetic algorithm over the KL weight (and further genes, if wanted).

    One generation is ``ask`` (candidates to look ahead with), the caller's look-ahead, and ``tell`` (the D and R that
    each candidate led to). Candidates are the incumbent, the other survivors and their children, ``survivors +
    children`` in all; no genome is scored twice. All stand within the trust region around the incumbent; survivors
    that it has left behind are replaced by fresh draws in it. There are three exits:

    - *retrain*: the best candidate beats the incumbent by more than ``margin`` and becomes the incumbent;
    - *give up*: it does not, the incumbent stays; after ``patience`` such generations in a row the worse half of the
      population is drawn afresh;
    - *converge*: the weights as they are hold :math:`|R - C| \le \tau C` and the genome has moved by less than
      ``settled`` (standard deviation, natural units) over the last ``memory`` generations. The search sleeps: ``ask``
      returns no candidates until C changes, R leaves the tolerance or the genome is overridden from outside. Without a
      target it never sleeps; with several genes a larger ``memory`` leaves the ELBO more time to sort them out.

    The default weights make the target count ten times as much as the ELBO. With one gene the two only conflict
    (every beta but 1 costs ELBO), and the ELBO then bounds the betas that can be reached to
    :math:`1 \pm (w_T / w_E)\,\mathrm{NELBO} / C`: at equal weights 1 + 12 for 10 nats on
    MNIST. Every draw comes from a stream keyed by ``(seed, tag, generation)``; nothing random is stored.

    Args:
        target: KL to steer to, nats per image: a number, a :class:`SetPoint`, or ``None`` (ELBO only).
        method: ``"ga"``, or ``"random"``: as many candidates, the incumbent and uniform draws in the same trust region.
        genes: What evolves. Default: ``beta`` in [0.01, 100] on a log scale.
        survivors: mu, at least 1.
        children: lambda, at least 1.
        delta: Widest reach of the trust region in natural units (a factor of e for log genes); ``None`` for no limit.
            Keep it at 0.3 or below if the look-ahead is shorter than the response of the KL.
        eta: Spread index of SBX, positive.
        crossover: Probability that a pair of children comes from SBX rather than being copies, in [0, 1].
        mutation: Probability that a gene of a child mutates, in [0, 1].
        cauchy: Scale of the Cauchy mutation in natural units, non-negative.
        two_sided: Never let all candidates lie on one side of the incumbent; for few candidates and a beta that must
            drift.
        fitness: ``"weighted"`` or ``"target_first"``, see :mod:`lightning_gvae.evolution.beta.fitness`.
        elbo_weight: w_E of the weighted fitness, non-negative.
        target_weight: w_T of the weighted fitness, non-negative.
        tolerance: Half width tau of the band around the target relative to C, in (0, 1).
        margin: Fitness that a candidate must gain over the incumbent to replace it, non-negative.
        patience: Generations without a better candidate before half the population is drawn afresh, at least 1.
        memory: Generations over which the genome must have stood still, at least 2.
        settled: How still, standard deviation in natural units, positive.
        seed: Seed of the run.

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
        target: float | SetPoint | None = None,
        method: Literal["ga", "random"] = "ga",
        genes: Sequence[Gene] | None = None,
        survivors: int = 4,
        children: int = 4,
        delta: float | None = 0.5,
        eta: float = 2.0,
        crossover: float = 0.9,
        mutation: float = 0.5,
        cauchy: float = 0.25,
        two_sided: bool = False,
        fitness: Literal["weighted", "target_first"] = "weighted",
        elbo_weight: float = 1.0,
        target_weight: float = 10.0,
        tolerance: float = 0.05,
        margin: float = 0.0,
        patience: int = 3,
        memory: int = 3,
        settled: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.target = as_set_point(target)
        self.method = method
        self.genes = tuple(genes) if genes is not None else (Gene("beta", 0.01, 100.0),)
        self.survivors, self.children = survivors, children
        self.variation = Variation(eta, crossover, mutation, cauchy)
        self.two_sided = two_sided
        self.trust = TrustRegion(self.genes, delta)
        self.fitness = fitness
        self.elbo_weight, self.target_weight = elbo_weight, target_weight
        self.tolerance, self.margin = tolerance, margin
        self.patience, self.memory, self.settled = patience, memory, settled
        self.seed = seed
        self._check()

        self.generation = 0
        self.asleep = False
        self.genome: tuple[float, ...] = ()
        self.population = np.empty((0, len(self.genes)))
        self.population_fitness = np.empty(0)
        self.stagnation = 0
        self.history: list[list[float]] = []
        self.current_target: float | None = None
        self.exit: Exit | None = None
        self._asked: tuple[Array, Array, float] | None = None

    @property
    def budget(self) -> int:
        """Candidates of an ordinary generation."""
        return self.survivors + self.children

    def ask(self, step: int, genome: ArrayLike, reference: tuple[float, float]) -> Array:
        """Candidates of the next generation, the genome in force first.

        Args:
            step: Optimiser steps done.
            genome: Gene values ``(d,)`` the run trains with at present; adopted if they are not the search's own.
            reference: D and R of the current weights on the probe, nats per image.

        Returns:
            Gene values ``(P, d)``, all distinct; ``(0, d)`` while the search sleeps.

        Raises:
            ConfigError: a gene value lies outside its bounds, or the KL observed cannot serve as target.
        """
        self._adopt(np.asarray(genome, dtype=np.float64))
        self._follow_target(step, reference[1])
        off_target = self._off_target(reference[1])
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
        self._asked = positions, values, reference[0] + reference[1]
        return values

    def tell(self, scores: ArrayLike) -> Generation:
        """Select survivors and decide about the incumbent.

        Args:
            scores: ``(P, 2)`` of D and R that each candidate reached, nats per image; a candidate that is not finite
                never wins.

        Raises:
            RuntimeError: ``tell`` was called before ``ask``.
            ValueError: there are not as many scores as candidates.
        """
        if self._asked is None:
            raise RuntimeError("tell() was called before ask(); while the search sleeps there is nothing to tell")
        positions, values, reference = self._asked
        fitness = self._fitness(scores, reference)
        if len(fitness) != len(positions):
            raise ValueError(f"`scores` must have one row per candidate ({len(positions)}), got {len(fitness)}")
        self._asked = None
        order = np.argsort(-fitness, kind="stable")
        best = int(order[0])
        kept = order[: self.survivors][np.isfinite(fitness[order[: self.survivors]])]
        self.population, self.population_fitness = positions[kept], fitness[kept]
        better = bool(fitness[best] > fitness[0] + self.margin)
        if better:
            self.trust.moved(positions[best] - positions[0])
            self.genome = tuple(values[best].tolist())
            self.stagnation = 0
        else:
            best = 0
            self.stagnation += 1
        if self.stagnation >= self.patience:
            self._resample()
        self.history = [*self.history, (self._position / steps(self.genes)).tolist()][-self.memory :]
        self.generation += 1
        self.exit = "retrain" if better else "give_up"
        return Generation(self.exit, self.genome, fitness, best)

    def settings(self) -> dict[str, Any]:
        """Constructor arguments other than the target, as plain values."""
        return {
            "method": self.method,
            "genes": [gene.settings() for gene in self.genes],
            "survivors": self.survivors,
            "children": self.children,
            "delta": self.trust.delta,
            **asdict(self.variation),
            "two_sided": self.two_sided,
            "fitness": self.fitness,
            "elbo_weight": self.elbo_weight,
            "target_weight": self.target_weight,
            "tolerance": self.tolerance,
            "margin": self.margin,
            "patience": self.patience,
            "memory": self.memory,
            "settled": self.settled,
            "seed": self.seed,
        }

    def state_dict(self) -> dict[str, Any]:
        """State of a search for a resumed run, as plain numbers, strings and lists."""
        return {
            "version": _VERSION,
            "settings": self.settings(),
            "target": None if self.target is None else self.target.settings(),
            "target_state": None if self.target is None else self.target.state_dict(),
            "current_target": self.current_target,
            "generation": self.generation,
            "asleep": self.asleep,
            "genome": list(self.genome),
            "population": self.population.tolist(),
            "population_fitness": self.population_fitness.tolist(),
            "stagnation": self.stagnation,
            "trust": self.trust.state_dict(),
            "history": [list(row) for row in self.history],
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
        changed = differences(state["settings"], self.settings())
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
        self.current_target = state["current_target"]
        self._asked = None
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
        low, high = self.trust.box(self._position)
        start = self._position[None, :]
        if self.method == "random":
            return without_repeats(start, fresh(rng, low, high, self.budget - 1), low, high, rng)
        inside = ((self.population >= low) & (self.population <= high)).all(axis=1)
        known = without_repeats(start, self.population[inside], low, high, None)[: self.survivors]
        known = without_repeats(known, spread(rng, low, high, self.survivors - len(known)), low, high, rng)
        children = self.variation.children(known, self.children, self.genes, rng)
        rows = without_repeats(known, np.clip(children, low, high), low, high, rng)
        return on_both_sides(rows, low, high) if self.two_sided else rows

    def _fitness(self, scores: ArrayLike, reference: float) -> Array:
        if self.fitness == "weighted":
            target = self.current_target if self.target_weight > 0 else None
            return fitnesses.weighted(scores, reference, target, self.elbo_weight, self.target_weight)
        assert self.current_target is not None
        return fitnesses.target_first(scores, reference, self.current_target, self.tolerance)

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
        self._wake()

    def _follow_target(self, step: int, rate: float) -> None:
        if self.target is None:
            return
        self.target.observe(rate)
        target = self.target.at(step)
        if target != self.current_target:
            self.current_target = target
            self._wake()

    def _off_target(self, rate: float) -> bool:
        if self.current_target is None:
            return True
        return not abs(rate - self.current_target) <= self.tolerance * self.current_target

    def _still(self) -> bool:
        return len(self.history) == self.memory and bool((np.std(self.history, axis=0) < self.settled).all())

    def _wake(self) -> None:
        self.asleep = False
        self.stagnation = 0
        self.trust.reset()
        self.history = []

    def _resample(self) -> None:
        """Replace the worse half of the population, the incumbent never."""
        rng = numpy_stream(self.seed, "beta_search/resample", self.generation)
        low, high = self.trust.box(self._position)
        keep = self.population[: self.survivors - self.survivors // 2]
        self.population = without_repeats(keep, spread(rng, low, high, self.survivors // 2), low, high, rng)
        self.population_fitness = np.concatenate(
            [self.population_fitness[: len(keep)], np.full(len(self.population) - len(keep), -np.inf)]
        )
        self.stagnation = 0

    def _check(self) -> None:
        names = [gene.name for gene in self.genes]
        rules = [
            ("method", self.method, self.method in ("ga", "random"), "must be 'ga' or 'random'"),
            (
                "fitness",
                self.fitness,
                self.fitness in ("weighted", "target_first"),
                "must be 'weighted' or 'target_first'",
            ),
            (
                "genes",
                names,
                len(names) > 0 and len(set(names)) == len(names),
                "must be one or more, with distinct names",
            ),
            ("survivors", self.survivors, self.survivors >= 1, "must be at least 1"),
            ("children", self.children, self.children >= 1, "must be at least 1"),
            ("elbo_weight", self.elbo_weight, self.elbo_weight >= 0, "must not be negative"),
            ("target_weight", self.target_weight, self.target_weight >= 0, "must not be negative"),
            ("tolerance", self.tolerance, 0 < self.tolerance < 1, "must lie between 0 and 1"),
            ("margin", self.margin, self.margin >= 0, "must not be negative"),
            ("patience", self.patience, self.patience >= 1, "must be at least 1"),
            ("memory", self.memory, self.memory >= 2, "must be at least 2"),
            ("settled", self.settled, self.settled > 0, "must be positive"),
        ]
        for name, value, holds, rule in rules:
            if not holds:
                raise ConfigError(f"`{name}` {rule}, got {value!r}")
        if self.fitness == "weighted" and self.elbo_weight == self.target_weight == 0:
            raise ConfigError("`elbo_weight` and `target_weight` must not both be 0, there would be nothing to rank by")
        if self.target is None and (self.fitness == "target_first" or self.target_weight > 0):
            raise ConfigError(
                "`target` is missing: give a KL in nats per image or a set-point, or set `target_weight` to 0 "
                "to evolve for the ELBO alone"
            )
