"""Search of a population: who stays, who takes over from whom, and with which genes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError, checked_choice, checked_count
from lightning_gvae.evolution.beta.genes import Gene, from_unit, steps, to_unit
from lightning_gvae.evolution.beta.settings import VariationSettings
from lightning_gvae.evolution.beta.variation import fresh, offspring, spread
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import non_dominated
from lightning_gvae.evolution.population.genes import genes_by_name
from lightning_gvae.evolution.population.objectives import objectives_by_name
from lightning_gvae.evolution.population.survivors import auto_reference, survivors
from lightning_gvae.io.settings import as_settings, differences
from lightning_gvae.rng import numpy_stream

__all__ = ["Exchange", "PopulationMethod", "PopulationSearch"]

PopulationMethod = Literal["evolve", "random", "none"]
VARIED = ("eta", "crossover", "mutation", "cauchy")


@dataclass(frozen=True)
class Exchange:
    """A member that is replaced.

    Args:
        member: Its place in the population.
        parent: Place of the survivor whose weights and optimiser state it takes.
        genes: Its new genes, ``(d,)``.
        reason: ``"selected"`` or ``"not finite"``.
    """

    member: int
    parent: int
    genes: tuple[float, ...]
    reason: str


class PopulationSearch:
    """Decides from the scores of all members who is replaced; a pure function of seed, state and scores.

    The best stay, see :func:`~lightning_gvae.evolution.population.survivors.survivors`. Each of the others takes the
    genes of a child of two of them, by SBX crossover and Cauchy mutation, and the weights of that parent whose genes
    are nearer. A member whose scores are not finite is always replaced.

    With one objective this is population based training. With two or three the population spreads along their front.

    Args:
        members: M, at least 1. One alone trains as it would without a population.
        genes: Bounds of each gene by name: a scalar buffer of the model, or ``optimizer.lr``.
        objectives: One to three of ``distortion, rate, nelbo, mig``.
        reference: Reference point of the hypervolume, one number an objective; None: beyond the worst of all
            non-dominated members so far by a tenth of their extent. It can only move away, so that the hypervolume
            cannot fall.
        method: ``evolve``; ``random``: new genes are drawn anew within the bounds, and not from survivors; ``none``:
            nobody is replaced, which makes the population a grid.
        replaced: Members replaced a generation, fewer than M; None: a quarter.
        parents: Best members that parents are drawn from; None: all that stay with several objectives, as many as are
            replaced, and at least two, with one.
        variation: ``eta``, ``crossover``, ``mutation`` and ``cauchy`` of
            :class:`~lightning_gvae.evolution.beta.settings.VariationSettings`.
        seed: Keys all random numbers.

    Raises:
        ConfigError: An argument is out of its range.

    References:
        Jaderberg et al., Population Based Training of Neural Networks, 2017 (one objective; the operators are ours).
    """

    def __init__(
        self,
        members: int = 8,
        genes: Mapping[str, Gene | Mapping[str, Any] | None] | None = None,
        objectives: Sequence[str] = ("distortion", "rate"),
        reference: Sequence[float] | None = None,
        method: PopulationMethod = "evolve",
        replaced: int | None = None,
        parents: int | None = None,
        variation: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.members = checked_count("members", members, unit="members")
        self.genes = genes_by_name({"beta": {"low": 0.1, "high": 10.0}} if genes is None else genes)
        self.objectives = objectives_by_name(objectives)
        if reference is not None and len(reference) != len(self.objectives):
            raise ConfigError(f"`reference` must have one value an objective, got {reference} for {list(objectives)}")
        checked_choice("method", method, get_args(PopulationMethod))
        self.method, self.seed = method, seed
        self.replaced = members // 4 if replaced is None else checked_count("replaced", replaced, least=0)
        if self.replaced >= members:
            raise ConfigError(f"`replaced` must be below `members`, {members}, got {replaced}")
        staying = members - self.replaced
        fewest = staying if len(self.objectives) > 1 else min(staying, max(2, self.replaced))
        self.parents = fewest if parents is None else checked_count("parents", parents)
        if unknown := [name for name in (variation or {}) if name not in VARIED]:
            raise ConfigError(f"`variation.{unknown[0]}` does not exist; `variation` has {', '.join(VARIED)}")
        self.variation = as_settings(VariationSettings, variation, "variation")
        self._given_reference = None if reference is None else [float(value) for value in reference]
        self.restart()

    def restart(self) -> None:
        """Go back to the first generation."""
        self.generation = 0
        self.reference = self._given_reference

    @property
    def names(self) -> list[str]:
        """Names of the genes."""
        return [gene.name for gene in self.genes]

    def first_genes(self, own: Sequence[float]) -> Array:
        """Genes of the members at the start, ``(M, d)``.

        A single gene at equal distances from bound to bound, several as a Latin hypercube. One member alone keeps what
        the model has.

        Args:
            own: Values that the model has, ``(d,)``.
        """
        if self.members == 1:
            return np.array([own], dtype=np.float64)
        if len(self.genes) == 1:
            return from_unit(self.genes, np.linspace(0.0, 1.0, self.members)[:, None])
        rng = numpy_stream(self.seed, "population/start")
        zeros = np.zeros(len(self.genes))
        return from_unit(self.genes, spread(rng, zeros, zeros + 1.0, self.members))

    def values(self, scores: Sequence[Mapping[str, float]]) -> Array:
        """Objectives ``(N, K)``, minimised, of scores by name."""
        return np.array([[each.value(row) for each in self.objectives] for row in scores], dtype=np.float64)

    def tell(self, values: Array, genes: Array) -> list[Exchange]:
        """End a generation: who is replaced, by the scores of all.

        Args:
            values: Objectives ``(M, K)``, minimised; a member with one that is not finite has failed.
            genes: Present genes ``(M, d)``.

        Raises:
            NonFiniteError: All members have failed.
        """
        self.note_reference(values)
        generation, self.generation = self.generation, self.generation + 1
        good = np.flatnonzero(np.isfinite(values).all(1))
        if self.method == "none" or self.members == 1:
            return []
        assert self.reference is not None
        stay = [int(good[place]) for place in survivors(values[good], self.members - self.replaced, self.reference)]
        gone = [index for index in range(self.members) if index not in stay]
        exchanges = []
        for index in gone:
            rng = numpy_stream(self.seed, "population/exchange", generation, index)
            parent, new = self._child(genes, stay[: self.parents], rng)
            reason = "selected" if index in good else "not finite"
            exchanges.append(Exchange(index, parent, new, reason))
        return exchanges

    def note_reference(self, values: Array) -> None:
        """Move the reference point beyond the non-dominated members, unless it was given.

        Raises:
            NonFiniteError: No member has finite scores.
        """
        good = values[np.isfinite(values).all(1)]
        if not len(good):
            raise NonFiniteError(
                f"no member of the population has finite scores at generation {self.generation}; narrow the bounds of "
                "`genes`, lower the learning rate or set trainer.gradient_clip_val"
            )
        if self._given_reference is None:
            beyond = auto_reference(good[non_dominated(good)])
            self.reference = beyond if self.reference is None else np.maximum(beyond, self.reference).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Settings and counters, in plain containers."""
        return {"settings": self.settings(), "generation": self.generation, "reference": self.reference}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            CheckpointError: It is of a population with other settings.
        """
        if changed := differences(state["settings"], self.settings()):
            raise CheckpointError(
                f"the checkpoint's population had other settings ({'; '.join(changed)}); restore them, or start a new "
                "run"
            )
        self.generation, self.reference = state["generation"], state["reference"]

    def settings(self) -> dict[str, Any]:
        """Everything that decides what is exchanged, as plain containers."""
        return {
            "members": self.members,
            "genes": [gene.settings() for gene in self.genes],
            "objectives": [objective.name for objective in self.objectives],
            "reference": self._given_reference,
            "method": self.method,
            "replaced": self.replaced,
            "parents": self.parents,
            "variation": {name: asdict(self.variation)[name] for name in VARIED},
            "seed": self.seed,
        }

    def _child(self, genes: Array, pool: Sequence[int], rng: np.random.Generator) -> tuple[int, tuple[float, ...]]:
        """Parent that the weights come from, and the genes of a child of two members of the pool."""
        pair = [pool[place] for place in rng.permutation(len(pool))[:2]]
        unit = np.clip(to_unit(self.genes, genes[pair]), 0.0, 1.0)
        if self.method == "random":
            zeros = np.zeros(len(self.genes))
            child = fresh(rng, zeros, zeros + 1.0, 1)[0]
        else:
            child = offspring(unit, 1, self.genes, self.variation, rng)[0]
        distances = [math.hypot(*((row - child) / steps(self.genes))) for row in unit]
        parent = pair[int(np.argmin(distances))]
        return parent, tuple(float(value) for value in from_unit(self.genes, child))
