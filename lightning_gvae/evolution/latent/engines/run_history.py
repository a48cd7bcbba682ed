"""The record of runs that are done one after the other."""

import torch
from torch import Tensor

from lightning_gvae.evolution.latent.constraint_handling import best_by_deb, total_violation
from lightning_gvae.evolution.latent.result import HISTORY, Best, SearchResult, describe
from lightning_gvae.evolution.latent.scoring import Scored, Scorer
from lightning_gvae.evolution.latent.settings import GASettings

__all__ = ["RunHistory"]


class RunHistory:
    """Scores populations and keeps the bests and the history of each run.

    Args:
        scorer: Decodes and scores.
        low: Lower bounds ``(L,)``.
        high: Upper bounds ``(L,)``.
        runs: Numbers of the runs ``(R,)``, in the order in which they are done.
        settings: Of the algorithm.
    """

    def __init__(self, scorer: Scorer, low: Tensor, high: Tensor, runs: Tensor, settings: GASettings) -> None:
        self.scorer, self.low, self.high, self.runs, self.settings = scorer, low, high, runs, settings
        self._rows: list[Tensor] = []
        self._histories: list[Tensor] = []
        self._finals: list[Best] = []
        self._evers: list[Best] = []

    def enter(self, population: Tensor, number: int, duels: torch.Generator) -> Tensor:
        """Score a generation ``(P, L)`` of the current run, number 0 first; returns its fitness ``(P,)``."""
        latents, scored = self._scored(population, number)
        fitness = self.settings.score(scored.objective, scored.violations, duels)
        self._last = Best.of(latents, scored, fitness.argmax(1))
        self._describe(latents, scored)
        return fitness[0]

    def evaluate(self, offspring: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Score new individuals ``(N, L)`` of an elitist algorithm: objective and total violation, ``(N,)`` each."""
        _, scored = self._scored(offspring, number)
        self._last = self._ever  # an elitist's final population holds the best that it met
        return scored.objective[0], total_violation(scored.violations, scored.objective)[0]

    def survivors(self, latents: Tensor, objective: Tensor, violations: Tensor) -> None:
        """Describe the population ``(P, L)`` that an elitist algorithm kept, with its scores ``(P,)``, ``(P, C)``."""
        self._describe(latents[None], Scored(latents[None], objective[None], violations[None]))

    def _scored(self, population: Tensor, number: int) -> tuple[Tensor, Scored]:
        latents = population.to(self.low).unsqueeze(0)
        scored = self.scorer(latents, number)
        best = Best.of(latents, scored, best_by_deb(scored.objective, scored.violations))
        if number == 0:
            self._rows, self._ever = [], best
        else:
            self._ever.improve(torch.zeros(1, dtype=torch.long), best)
        return latents, scored

    def _describe(self, latents: Tensor, scored: Scored) -> None:
        best = best_by_deb(scored.objective, scored.violations)
        self._rows.append(describe(latents, scored, best, self.high - self.low).cpu().double())

    def end_run(self) -> None:
        """The last generation entered was the last of this run."""
        self._finals.append(self._last)
        self._evers.append(self._ever)
        self._histories.append(torch.cat(self._rows))

    def result(self) -> SearchResult:
        """The result of all runs."""
        history = torch.stack(self._histories, 1)
        return SearchResult(
            self.runs,
            _joined(self._finals),
            _joined(self._evers),
            {name: history[..., column].clone() for column, name in enumerate(HISTORY)},
            torch.full((len(self.runs),), self.settings.generations),
            self.scorer.decodes,
        )


def _joined(parts: list[Best]) -> Best:
    return Best(*(torch.cat(columns) for columns in zip(*(part.tensors().values() for part in parts), strict=True)))
