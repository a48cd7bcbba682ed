"""Space of genomes: its members, and how they are drawn, crossed and mutated."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, cast

import numpy as np

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.architecture.genome import Block, Genome, Rules

__all__ = ["PRESETS", "GenomeGene", "GenomeSpace"]

WAKE_UP = 0.01  # probability that a mutation meant for an inactive block switches it on

_CODE: dict[str, tuple[Any, ...]] = {
    "active": (0, 1),
    "filters": (4, 8, 16, 32, 64, 128, 256),
    "kernel": (3, 5, 7),
    "batch_norm": (0, 1),
    "activation": ("relu", "sigmoid"),
    "dropout": (0,),
    "pool": (0, 1, 2),
    "skip": (0, 1, 2),
    "optimizer": ("adam", "rmsprop", "adagrad", "adadelta"),
}
PRESETS: dict[str, tuple[Rules, dict[str, tuple[Any, ...]]]] = {
    "moncae_code": ("reference", _CODE),
    # The released code marks kernel and skip genes as added after the paper.
    "moncae_paper": ("reference", {name: choices for name, choices in _CODE.items() if name not in ("kernel", "skip")}),
    "robust": (
        "robust",
        {
            **{name: choices for name, choices in _CODE.items() if name not in ("dropout", "skip")},
            "pool": (0, 1),
            "optimizer": ("adam", "rmsprop"),
            "lr": (3e-4, 1e-3, 3e-3),
        },
    ),
}
_BLOCK_NAMES = tuple(field.name for field in fields(Block))


class GenomeGene(NamedTuple):
    """One position of the flat list.

    Args:
        name: Field of :class:`Block`, or ``optimizer`` or ``lr``.
        block: Number of its block; None for the genes at the end.
        choices: Its values.
    """

    name: str
    block: int | None
    choices: tuple[Any, ...]


class GenomeSpace:
    """The genomes of a preset: a flat list of genes, block by block, then the optimiser's.

    - ``moncae_code``: as released, 6 blocks of 8 genes and the optimiser, 49 genes, some without effect;
    - ``moncae_paper``: without the genes that were added after the paper, so 3x3 kernels, 37 genes;
    - ``robust``: Adam or RMSprop with a learning rate, logits as output, no gene without effect in an active block.

    Args:
        preset: One of ``PRESETS``.
        max_blocks: Convolution blocks, at least 1.
        choices: Values of single genes by name instead of the preset's, for example ``{"filters": [4, 8, 16]}``; a
            gene that the preset lacks is added.

    Raises:
        ConfigError: The preset or a gene is unknown, a gene is left without a value, or no block can be active.

    References:
        Dimanov, Balaguer-Ballester, Singleton, Rostami, MONCAE: Multi-Objective Neuroevolution of Convolutional
        Autoencoders, 2021, and its released code.
    """

    def __init__(
        self, preset: str = "moncae_code", max_blocks: int = 6, choices: dict[str, Sequence[Any]] | None = None
    ) -> None:
        if preset not in PRESETS:
            raise ConfigError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}")
        self.preset, self.max_blocks = preset, checked_count("max_blocks", max_blocks)
        self.rules, values = PRESETS[preset]
        self.choices = {**values, **{name: tuple(given) for name, given in (choices or {}).items()}}
        known = (*_BLOCK_NAMES, "optimizer", "lr")
        for name, given in self.choices.items():
            if name not in known:
                raise ConfigError(f"`choices` may name {', '.join(known)}, got {name!r}")
            if not given:
                raise ConfigError(f"the search space is empty: gene {name!r} has no value left; give it at least one")
        if 1 not in self.choices.get("active", (1,)):
            raise ConfigError(f"the search space is empty: no block can be active, got {self.choices['active']!r}")
        per_block = [name for name in _BLOCK_NAMES if name in self.choices]
        self.genes = [GenomeGene(name, b, self.choices[name]) for b in range(max_blocks) for name in per_block]
        self.genes += [
            GenomeGene(name, None, self.choices[name]) for name in ("optimizer", "lr") if name in self.choices
        ]
        for genome in self._corners():
            genome.key  # noqa: B018  (a value that means nothing is refused here)

    def __len__(self) -> int:
        return len(self.genes)

    def size(self) -> int:
        """Number of genomes, those included whose inactive genes alone differ.

        >>> GenomeSpace("robust", 1, {"filters": [8], "kernel": [3], "batch_norm": [0], "activation": ["relu"]}).size()
        12
        """
        # The first block is always on.
        return math.prod(
            len(set(gene.choices)) for gene in self.genes if not (gene.name == "active" and gene.block == 0)
        )

    def settings(self) -> dict[str, Any]:
        """Settings that a journal must agree with, as plain containers."""
        choices = {name: list(values) for name, values in self.choices.items()}
        return {"preset": self.preset, "max_blocks": self.max_blocks, "choices": choices}

    def values(self, genome: Genome) -> list[Any]:
        """The flat list."""
        return [getattr(genome if g.block is None else genome.blocks[g.block], g.name) for g in self.genes]

    def genome(self, values: Sequence[Any]) -> Genome:
        """The genome of a flat list; its first block is switched on.

        Raises:
            ConfigError: The list has another length.
        """
        if len(values) != len(self.genes):
            raise ConfigError(f"a genome of this space has {len(self.genes)} genes, got {len(values)}")
        blocks: list[dict[str, Any]] = [{} for _ in range(self.max_blocks)]
        tail: dict[str, Any] = {}
        for gene, value in zip(self.genes, values, strict=True):
            (tail if gene.block is None else blocks[gene.block])[gene.name] = value
        blocks[0]["active"] = 1
        return Genome(tuple(Block(**block) for block in blocks), rules=self.rules, **tail)

    def repair(self, genome: Genome) -> Genome:
        """The genome with every gene brought into the space: numbers to the nearest choice, names to the first."""
        blocks = (*genome.blocks, *[Block(active=0)] * self.max_blocks)[: self.max_blocks]
        values = self.values(replace(genome, blocks=blocks))
        return self.genome([_nearest(value, gene.choices) for value, gene in zip(values, self.genes, strict=True)])

    def sample(self, rng: np.random.Generator) -> Genome:
        """Every gene uniform from its choices, the first block switched on."""
        return self.genome([_pick(gene.choices, rng) for gene in self.genes])

    def crossover(self, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        """One child: the genes of ``first`` before a cut, those of ``second`` after it; the cut may be at an end."""
        cut = int(rng.integers(len(self.genes) + 1))
        return self.genome(self.values(first)[:cut] + self.values(second)[cut:])

    def mutate(self, genome: Genome, rng: np.random.Generator, count: int) -> Genome:
        """``count`` gene mutations, each at a position drawn anew from all but the first.

        In an active block the gene is drawn anew (which may switch the block off). In an inactive one nothing happens
        but, with probability 0.01, the block is switched on. The genes at the end are always drawn anew.
        """
        values = self.values(genome)
        active = {gene.block: at for at, gene in enumerate(self.genes) if gene.name == "active"}
        for _ in range(count):
            at = int(rng.integers(1, len(self.genes))) if len(self.genes) > 1 else 0
            switch = active.get(self.genes[at].block)
            if switch is None or values[switch]:
                values[at] = _pick(self.genes[at].choices, rng)
            elif rng.random() < WAKE_UP:
                values[switch] = 1
        return self.genome(values)

    def vary(self, genome: Genome, rng: np.random.Generator, count: int) -> Genome:
        """``count`` mutations that cannot be lost on a sleeping block: another value for a switch of any block but the
        first, a gene of an active block, or a gene at the end.

        The reference's :meth:`mutate` wakes a block one time in a hundred only, so networks hardly ever grow deeper.
        """
        values = self.values(genome)
        active = {gene.block: at for at, gene in enumerate(self.genes) if gene.name == "active"}
        for _ in range(count):
            open_to_change = [
                at
                for at, gene in enumerate(self.genes)
                if len(set(gene.choices)) > 1
                and (gene.name != "active" or gene.block)
                and (gene.name == "active" or gene.block not in active or values[active[gene.block]])
            ]
            if not open_to_change:
                break
            at = open_to_change[int(rng.integers(len(open_to_change)))]
            values[at] = _pick([choice for choice in self.genes[at].choices if choice != values[at]], rng)
        return self.genome(values)

    def smallest(self) -> Genome:
        """A genome with the strongest compression that the space has, whatever the image."""
        return next(self._corners())

    def _corners(self) -> Iterator[Genome]:
        """Genomes in which every choice occurs; the first pools wherever it may and has the fewest filters."""
        pool = self.choices.get("pool", (0,))
        best = {"active": 1, "filters": min(self.choices.get("filters", (Block().filters,)))}
        best["pool"] = 1 if 1 in pool else pool[0]
        yield self.genome([best.get(gene.name, gene.choices[0]) for gene in self.genes])
        for turn in range(max(map(len, self.choices.values()))):
            values = [gene.choices[turn % len(gene.choices)] for gene in self.genes]
            yield self.genome([1 if g.name == "active" else v for g, v in zip(self.genes, values, strict=True)])


def _pick(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _nearest(value: Any, choices: Sequence[Any]) -> Any:
    if value in choices:
        return value
    if isinstance(value, str) or isinstance(choices[0], str):
        return choices[0]
    return min(choices, key=lambda choice: abs(cast(float, choice) - value))
