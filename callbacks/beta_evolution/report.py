"""Report of a KL weight evolution: scalars for the loggers, and rows of a csv file."""

from collections.abc import Sequence

from lightning_gvae.evolution.beta.journal import Cell
from lightning_gvae.evolution.beta.search import BetaGeneration, BetaSearch
from lightning_gvae.evolution.operators import Array

__all__ = ["candidate_rows", "columns", "generation_scalars"]


def columns(genes: Sequence[str], measured: Sequence[str] = ()) -> list[str]:
    """Names of the cells of :func:`candidate_rows`."""
    return ["generation", "step", *genes, "D", "R", *measured, "fitness", "chosen", "exit"]


def candidate_rows(
    search: BetaSearch, number: int, step: int, candidates: Array, scores: Array, outcome: BetaGeneration | None
) -> list[list[Cell]]:
    """A row for each candidate of the generation ``number``.

    Args:
        search: After the generation.
        number: Of the generation.
        step: Optimiser steps done.
        candidates: Gene values ``(P, d)``; of a search that sleeps those in force alone.
        scores: D, R and what is measured ``(P, 2 + S)``.
        outcome: What was decided; None of a search that sleeps.
    """
    fitness = [""] if outcome is None else outcome.fitness.tolist()
    best = 0 if outcome is None else outcome.best
    return [
        [number, step, *genome, *score, fitness[i], int(i == best), str(search.exit)]
        for i, (genome, score) in enumerate(zip(candidates.tolist(), scores.tolist(), strict=True))
    ]


def generation_scalars(
    search: BetaSearch, number: int, reference: Array, extra_compute: float, outcome: BetaGeneration | None
) -> dict[str, float]:
    """Scalars of the generation ``number`` by the names under which they are logged.

    Args:
        search: After the generation.
        number: Of the generation.
        reference: D, R (nats per image) and measures that the search was told, ``(2 + S,)``.
        extra_compute: Passes of evolution relative to those of training.
        outcome: What was decided; None of a search that sleeps.
    """
    found: dict[str, float] = {"evolution/generation": number, "evolution/kl": reference[1]}
    found["evolution/asleep"] = search.asleep
    found |= {f"evolution/{name}": value for name, value in zip(search.measured, reference[2:], strict=True)}
    found |= {f"evolution/{gene.name}": value for gene, value in zip(search.genes, search.genome, strict=True)}
    found["evolution/extra_compute"] = extra_compute
    if outcome is not None:
        found["evolution/best_fitness"] = outcome.fitness.max()
        found["evolution/incumbent_fitness"] = outcome.fitness[0]
    if search.target_kl is not None:
        found["train/target_kl"] = search.target_kl
    return {name: float(value) for name, value in found.items()}
