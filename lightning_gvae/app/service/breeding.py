"""Interactive evolution: a person picks parents, crossover and mutation make the next generation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_gvae.app.service.checks import HIGHEST_SEED, number_between, whole_number
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.app.service.sampling import noise
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.operators import Array, cauchy, reflect, sbx
from lightning_gvae.rng import numpy_stream

__all__ = ["MOST_BRED", "Population", "Variety", "breed", "children", "first_population"]

REACH = 3.0  # of a gene, in standard deviations of the prior
MOST_BRED = 48


@dataclass(frozen=True, eq=False)
class Population:
    """Individuals of one generation.

    Args:
        genes: Standard normal noise of which the prior makes latents, ``(P, Z)``, each within 3 of zero.
        generation: 0 for the first.
        seed: Of the whole line.
    """

    genes: Array
    generation: int
    seed: int

    @property
    def distinct(self) -> int:
        """Individuals that differ from one another in a gene by more than a millionth."""
        return len(np.unique(self.genes.round(6), axis=0))

    def images(self, opened: Opened) -> np.ndarray:
        """Decoded individuals, uint8 ``(P, C, H, W)``."""
        return opened.decode(opened.prior_latents(self.genes.astype(np.float32)))


@dataclass(frozen=True)
class Variety:
    """Settings of how children differ from their parents.

    Args:
        eta: Spread index of SBX, 0.1 to 100; larger keeps children nearer their parents.
        mutation: Probability that a gene jumps, in [0, 1].
        jump: Median size of a jump, in standard deviations of the prior, 0 to 3.
        keep_parents: Whether the parents live on beside their children.

    Raises:
        ConfigError: A number is out of range.
    """

    eta: float = 5.0
    mutation: float = 0.1
    jump: float = 0.5
    keep_parents: bool = True

    def __post_init__(self) -> None:
        number_between("The likeness (spread index)", self.eta, 0.1, 100)
        number_between("The share of genes that jump", self.mutation, 0, 1)
        number_between("The size of jumps", self.jump, 0, REACH)


def first_population(opened: Opened, size: object, seed: object) -> Population:
    """``size`` draws from the prior, 2 to 48, folded into the range of the genes.

    Raises:
        ConfigError: A number is out of range.
    """
    count = whole_number("The size of the population", size, 2, MOST_BRED)
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    return Population(_folded(noise(key, count, opened.latent_dim, "app/breed/first").astype(np.float64)), 0, key)


def breed(population: Population, parents: Sequence[int], variety: Variety) -> Population:
    """The next generation, as large as this one: the parents if they are kept, then their children.

    Args:
        population: This generation.
        parents: Positions of those that were picked; one alone has mutated copies of itself as children.
        variety: How children differ.

    Raises:
        ConfigError: Nobody was picked, or somebody who is not there; or with parents kept there is no room for
            children.
    """
    size, chosen = len(population.genes), sorted(set(parents))
    if not chosen:
        raise ConfigError("nobody was picked; click at least one image, better two, to be parents.")
    if not (chosen[0] >= 0 and chosen[-1] < size):
        raise ConfigError(f"the population has numbers 1 to {size}, got {', '.join(str(one + 1) for one in chosen)}.")
    picked = population.genes[chosen]
    kept = picked if variety.keep_parents else picked[:0]
    if len(kept) >= size:
        raise ConfigError("everybody was picked and parents are kept, so there is no room for children; pick fewer.")
    rng = numpy_stream(population.seed, "app/breed", population.generation + 1)
    made = children(picked, size - len(kept), variety, rng)
    return Population(np.concatenate([kept, made]), population.generation + 1, population.seed)


def children(parents: Array, count: int, variety: Variety, rng: np.random.Generator) -> Array:
    """Children ``(count, Z)`` of parents ``(n, Z)``: SBX of two, then Cauchy jumps, folded into the range.

    The two children of a pair exchange each gene with probability 1/2, else the first would take after the first parent
    in all genes. Before mutation they have their parents' mean.

    References:
        Deb and Agrawal, Simulated Binary Crossover for Continuous Search Space, 1995.
    """
    made: list[Array] = []
    while len(made) < count:
        pair = rng.choice(len(parents), size=2, replace=False) if len(parents) > 1 else np.zeros(2, dtype=int)
        one, other = sbx(parents[pair[0]], parents[pair[1]], variety.eta, rng)
        exchanged = rng.random(one.shape) < 0.5
        made += [np.where(exchanged, other, one), np.where(exchanged, one, other)]
    crossed = np.stack(made[:count])
    mutated = rng.random(crossed.shape) < variety.mutation
    return _folded(np.where(mutated, cauchy(crossed, variety.jump, rng), crossed))


def _folded(genes: Array) -> Array:
    return (2 * reflect((genes / REACH + 1) / 2) - 1) * REACH
