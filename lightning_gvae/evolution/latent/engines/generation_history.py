"""Memory of the tensor engine: the history of every run and the best that it ever met."""

import torch
from torch import Tensor

from lightning_gvae.evolution.latent.constraint_handling import best_by_deb
from lightning_gvae.evolution.latent.result import HISTORY, Best, describe
from lightning_gvae.evolution.latent.scoring import Scored

__all__ = ["GenerationHistory"]

MOST_PENDING = 16  # generations
MOST_NUMBERS = 2**22  # decoded numbers that are held for it, 16 MB


class GenerationHistory:
    """Looks at several generations at a time, which takes as many operations as looking at one.

    Args:
        runs: R.
        generations: After the initial one.
        width: Widths of the box ``(L,)``.
        at_once: Whether every generation is looked at as soon as it is noted; needed where runs leave one by one.
    """

    def __init__(self, runs: int, generations: int, width: Tensor, at_once: bool) -> None:
        self.history = torch.full((generations + 1, runs, len(HISTORY)), torch.nan, dtype=torch.float64)
        self.lengths = torch.zeros(runs, dtype=torch.long)
        self.ever: Best | None = None
        self.best = torch.empty(0)  # index of the best of each run in the last generation looked at
        self._width, self._at_once = width, at_once
        self._pending: list[tuple[Tensor, Scored]] = []
        self._last, self._left = -1, torch.empty(0)

    def note(self, number: int, left: Tensor, latents: Tensor, scored: Scored) -> None:
        """Take down a generation.

        Args:
            number: Of the generation; one more than the last.
            left: Positions of the runs that take part ``(A,)``.
            latents: ``(A, P, L)``.
            scored: Its scores.
        """
        self._pending.append((latents, scored))
        self._last, self._left = number, left
        most = 1 if self._at_once else min(MOST_PENDING, max(1, MOST_NUMBERS // max(1, scored.decoded.numel())))
        if len(self._pending) >= most:
            self.settle()

    def settle(self) -> None:
        """Look at what was noted."""
        if not self._pending:
            return
        count, runs = len(self._pending), len(self._left)
        latents = _joined([latents for latents, _ in self._pending])
        objective = _joined([scored.objective for _, scored in self._pending])
        violations = _joined([scored.violations for _, scored in self._pending])
        best = best_by_deb(objective, violations)
        table = describe(latents, Scored(objective, objective, violations), best, self._width)
        numbers = torch.arange(self._last - count + 1, self._last + 1)
        self.history[numbers[:, None], self._left] = table.cpu().double().view(count, runs, -1)
        self.lengths[self._left] = self._last

        # Of the bests of a run the first one of the best: that which would have stood all the while.
        rows = torch.arange(len(best), device=best.device)
        which = best_by_deb(
            objective[rows, best].view(count, runs).T, violations[rows, best].view(count, runs, -1).transpose(0, 1)
        )
        of_each = [
            Best.of(*generation, each) for generation, each in zip(self._pending, best.view(count, runs), strict=True)
        ]
        found = of_each[0] if count == 1 else _chosen(of_each, which)
        if self.ever is None:
            self.ever = found
        else:
            self.ever.improve(self._left, found)
        self.best = best.view(count, runs)[-1]
        self._pending = []


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chosen(bests: list[Best], which: Tensor) -> Best:
    """Individual of generation ``which[r]`` of each run."""
    columns = zip(*(best.tensors().values() for best in bests), strict=True)
    runs = torch.arange(len(which), device=which.device)
    stacked = [torch.stack(column) for column in columns]
    return Best(*(values[which.to(values.device), runs.to(values.device)] for values in stacked))
