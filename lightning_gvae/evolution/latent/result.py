"""Result of a latent search: the best of the final population and the best ever, run by run, and its history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.constraint_handling import total_violation
from lightning_gvae.evolution.latent.scoring import Scored

__all__ = ["HISTORY", "Best", "SearchResult", "describe", "merge"]

HISTORY = ("mean_objective", "best_objective", "mean_violation", "best_violation", "valid", "diversity")


@dataclass
class Best:
    """One individual a run.

    Args:
        latents: ``(R, L)``.
        decoded: ``(R, ...)``.
        objective: ``(R,)``.
        violations: ``(R, C)``.
    """

    latents: Tensor
    decoded: Tensor
    objective: Tensor
    violations: Tensor

    @property
    def valid(self) -> Tensor:
        """Whether every criterion is met, ``(R,)``."""
        return (self.violations <= 0).all(-1)

    @classmethod
    def of(cls, latents: Tensor, scored: Scored, which: Tensor) -> "Best":
        """Individual ``which[r]`` of each run r of a population ``(R, P, L)``."""
        rows = torch.arange(len(which), device=which.device)
        decoded = scored.decoded[rows.to(scored.decoded.device), which.to(scored.decoded.device)]
        return cls(latents[rows, which], decoded, scored.objective[rows, which], scored.violations[rows, which])

    def improve(self, rows: Tensor, other: "Best") -> None:
        """Take over, in place, each run of ``other``, which belong to ``rows``, that is better by Deb's rules."""
        here = rows.to(self.objective.device)
        objective, total = self.objective[here], total_violation(self.violations[here], self.objective[here])
        of_other = total_violation(other.violations, other.objective)
        better = (of_other < total) | ((of_other == total) & (other.objective < objective))
        if better.any():
            self.put(rows[better.to(rows.device)], other.select(better))

    def put(self, rows: Tensor, other: "Best") -> None:
        """Overwrite ``rows`` in place."""
        for field in fields(self):
            own = getattr(self, field.name)
            own[rows.to(own.device)] = getattr(other, field.name)

    def select(self, rows: Tensor) -> "Best":
        """A copy of some runs (indices or a mask)."""
        return Best(*(values[rows.to(values.device)] for values in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass
class SearchResult:
    """Outcome of a latent search over R runs.

    Args:
        runs: Numbers of the runs ``(R,)``; not all, if they were shared out.
        final: Best of each run's final population by the fitness of the search.
        ever: Best that each run ever met, by Deb's rules.
        history: By name of :data:`HISTORY`, ``(G + 1, R)``: means over the population; objective and total violation of
            its best by Deb's rules; share of valid individuals; standard deviation over the population relative to the
            width of the box, averaged over latents. NaN from the generation on that a run no longer took part in.
        generations: Generations that each run went through, ``(R,)``.
        decodes: Calls of the decoder.
    """

    runs: Tensor
    final: Best
    ever: Best
    history: dict[str, Tensor]
    generations: Tensor
    decodes: int

    @property
    def final_diversity(self) -> Tensor:
        """Spread of each run's last population relative to the width of the box, ``(R,)``."""
        table = self.history["diversity"]
        last = self.generations.to(table.device).long().clamp(max=len(table) - 1)
        return table.gather(0, last[None])[0]

    def tensors(self) -> dict[str, Any]:
        """Plain tensors and numbers, for ``torch.save``."""
        return {
            "runs": self.runs,
            "final": self.final.tensors(),
            "ever": self.ever.tensors(),
            "history": dict(self.history),
            "generations": self.generations,
            "decodes": self.decodes,
        }

    @classmethod
    def from_tensors(cls, stored: Mapping[str, Any]) -> "SearchResult":
        """Inverse of :meth:`tensors`."""
        return cls(**{**stored, "final": Best(**stored["final"]), "ever": Best(**stored["ever"])})


def describe(latents: Tensor, scored: Scored, best: Tensor, width: Tensor) -> Tensor:
    """The figures :data:`HISTORY` of each run of a population ``(R, P, L)``: ``(R, 6)``.

    Args:
        latents: The population.
        scored: Its scores.
        best: Index of the best of each run.
        width: Widths of the box ``(L,)``.
    """
    total = total_violation(scored.violations, scored.objective)
    # torch's own std over a dimension that is not the last takes ten times as long on the CPU.
    deviation = (latents - latents.mean(1, keepdim=True)).square().mean(1).sqrt()
    diversity = (deviation / width).mean(-1)
    valid = (scored.violations <= 0).all(-1)
    means = torch.stack([scored.objective, total, valid.to(total.dtype)], 1).mean(2)
    of_best = torch.stack([scored.objective, total], 2)[torch.arange(len(best), device=best.device), best]
    columns = [means[:, 0], of_best[:, 0], means[:, 1], of_best[:, 1], means[:, 2], diversity.to(total.dtype)]
    return torch.stack(columns, dim=1)


def merge(results: Sequence[SearchResult]) -> SearchResult:
    """One result of runs that were shared out, in the order of their numbers; decodes are added up.

    Raises:
        ConfigError: a run occurs twice.
    """
    runs = torch.cat([result.runs for result in results])
    order = runs.argsort()
    if len(runs.unique()) != len(runs):
        raise ConfigError(f"the results to merge must be of different runs, got {sorted(runs.tolist())}")

    def joined(parts: list[Tensor], dim: int = 0) -> Tensor:
        whole = torch.cat(parts, dim)
        return whole.index_select(dim, order.to(whole.device))

    def joined_best(parts: list[Best]) -> Best:
        return Best(
            *(joined(list(columns)) for columns in zip(*(part.tensors().values() for part in parts), strict=True))
        )

    return SearchResult(
        runs[order],
        joined_best([result.final for result in results]),
        joined_best([result.ever for result in results]),
        {name: joined([result.history[name] for result in results], 1) for name in HISTORY},
        joined([result.generations for result in results]),
        sum(result.decodes for result in results),
    )
