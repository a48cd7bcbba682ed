"""A latent search as one writes it with DEAP: each individual decoded and scored by itself, duels in a Python loop.

The algorithm, and the way it is written, are those of the published code of SOLVE; ours computes the same with tensors.
"""

import random
from collections.abc import Callable

import torch
from deap import base, tools
from torch import Tensor

from lightning_gvae.evolution.latent.search import Problem

__all__ = ["deap_search"]


class Fitness(base.Fitness):
    weights = (1.0,)


class Individual(list):
    def __init__(self, genes) -> None:
        super().__init__(genes)
        self.fitness = Fitness()
        self.objective = 0.0
        self.violations: list[float] = []


@torch.no_grad()
def deap_search(
    decode: Callable[[Tensor], Tensor],
    problem: Problem,
    size: int,
    bound: float,
    population: int,
    generations: int,
    seed: int,
) -> float:
    """Objective of the final population's best by Deb's rules; the first generation is scored too."""
    random.seed(seed)
    toolbox = base.Toolbox()
    toolbox.register("individual", lambda: Individual(random.uniform(-bound, bound) for _ in range(size)))
    toolbox.register("select", tools.selTournament, tournsize=3)
    toolbox.register("mate", tools.cxUniform, indpb=0.05)
    toolbox.register("mutate", tools.mutGaussian, mu=0.0, sigma=1.0, indpb=0.2)
    crowd = [toolbox.individual() for _ in range(population)]
    score(crowd, decode, problem)
    for _ in range(generations):
        children = [toolbox.clone(each) for each in toolbox.select(crowd, population)]
        for first, second in zip(children[::2], children[1::2], strict=True):
            if random.random() < 0.5:
                toolbox.mate(first, second)
        for child in children:
            if random.random() < 0.2:
                toolbox.mutate(child)
            child[:] = [min(max(gene, -bound), bound) for gene in child]
        crowd = children
        score(crowd, decode, problem)
    return min((sum(each.violations), each.objective) for each in crowd)[1]


def score(crowd: list[Individual], decode: Callable[[Tensor], Tensor], problem: Problem) -> None:
    """Everyone is decoded and scored anew, since fitness is relative to the population: points per duel."""
    for each in crowd:
        decoded = decode(torch.tensor([each]))
        each.objective = problem.objective(decoded).item()
        each.violations = problem.violations(decoded)[0].tolist()
    points, duels = dict.fromkeys(map(id, crowd), 0.0), dict.fromkeys(map(id, crowd), 0)
    for _ in crowd:
        participants = random.sample(crowd, 5)
        for _ in range(10):
            first, second = random.sample(participants, 2)
            for fighter, won in zip((first, second), duel(first, second), strict=True):
                points[id(fighter)] += won
                duels[id(fighter)] += 1
    for each in crowd:
        each.fitness.values = (points[id(each)] / max(duels[id(each)], 1),)


def duel(first: Individual, second: Individual) -> tuple[float, float]:
    left, right = float(first.objective <= second.objective), float(second.objective <= first.objective)
    for own, other in zip(first.violations, second.violations, strict=True):
        both = own > 0 and other > 0
        left += own < other if both else own <= 0
        right += own >= other if both else other <= 0
    return left, right
