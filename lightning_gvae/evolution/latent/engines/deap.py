"""DEAP as engine of a latent search: the published algorithm with the library that it was published with.

DEAP draws from the global generator of Python's ``random``; it is seeded for each run and given back as it was.
"""

import random
from typing import Any

import torch
from deap import base, tools
from torch import Tensor

from lightning_gvae.evolution.latent.engines.run_history import RunHistory
from lightning_gvae.evolution.latent.result import SearchResult
from lightning_gvae.evolution.latent.scoring import Scorer
from lightning_gvae.evolution.latent.settings import GASettings
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.rng import stream_key, torch_stream

__all__ = ["run_deap"]


class _Fitness(base.Fitness):
    weights = (1.0,)


class _Individual(list[float]):
    """A genome; a class of our own, because DEAP's creator keeps its classes in a process-wide registry."""

    def __init__(self, genes: Any) -> None:
        super().__init__(genes)
        self.fitness = _Fitness()


def run_deap(scorer: Scorer, low: Tensor, high: Tensor, runs: Tensor, settings: GASettings, seed: int) -> SearchResult:
    """One run after the other; each generation is decoded at once. Arguments as for the tensor engine."""
    record = RunHistory(scorer, low, high, runs, settings)
    with preserved_rng(low.device):
        for run in runs.tolist():
            random.seed(stream_key(seed, "latent/deap", run))
            duels = torch_stream(seed, "latent/deap/duels", run)
            population = [
                _Individual(map(random.uniform, low.tolist(), high.tolist())) for _ in range(settings.population)
            ]
            _score(population, record, 0, duels)
            for number in range(1, settings.generations + 1):
                population = _next(population, low.tolist(), high.tolist(), settings)
                _score(population, record, number, duels)
            record.end_run()
    return record.result()


def _next(
    population: list[_Individual], low: list[float], high: list[float], settings: GASettings
) -> list[_Individual]:
    toolbox = base.Toolbox()
    chosen = tools.selTournament(population, len(population), tournsize=settings.tournament)
    children = [toolbox.clone(individual) for individual in chosen]
    for first, second in zip(children[::2], children[1::2], strict=True):
        if random.random() < settings.crossover:
            tools.cxUniform(first, second, indpb=settings.swap)
    for child in children:
        if random.random() < settings.mutation:
            tools.mutGaussian(child, mu=0.0, sigma=settings.sigma, indpb=settings.gene_mutation)
        child[:] = [min(max(gene, a), b) for gene, a, b in zip(child, low, high, strict=True)]
    if settings.elitism:
        children[-settings.elitism :] = map(toolbox.clone, tools.selBest(population, settings.elitism))
    return children


def _score(population: list[_Individual], record: RunHistory, number: int, duels: torch.Generator) -> None:
    fitness = record.enter(torch.tensor([list(individual) for individual in population]), number, duels)
    for individual, value in zip(population, fitness.tolist(), strict=True):
        individual.fitness.values = (value,)  # all anew: fitness may be relative to the population
