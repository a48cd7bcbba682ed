"""Ranking of constrained individuals: paper tournaments, their expectation, Deb's rules, penalties.

Every fitness takes objectives ``(R, P)`` (minimised) and violations ``(R, P, C)`` (0 where met) of R independent runs
with P individuals each, and gives ``(R, P)``, maximised. Only the tournaments draw random numbers.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = [
    "FITNESSES",
    "Fitness",
    "FitnessName",
    "best_by_deb",
    "deb",
    "least_violation",
    "pair_up",
    "pairwise_scores",
    "round_robin",
    "sample_pairs",
    "scalar",
    "total_violation",
    "tournament",
]

FitnessName = Literal["tournament", "round_robin", "deb", "scalar", "violation"]
Fitness = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]

PARTICIPANTS = 5  # of a tournament
DUELS = 10  # of a tournament
UNIFORMS = PARTICIPANTS + 2 * DUELS  # random numbers that a tournament takes


def tournament(objective: Tensor, violations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Points per duel in random tournaments, one tournament an individual of the population.

    Each tournament has 5 participants, drawn without repetition, and 10 duels between two different ones of them. An
    individual has ``20 (std 8.5)`` duels on average at a population of 20; one without any gets 0.

    Args:
        objective: ``(R, P)``, minimised; P at least 5.
        violations: ``(R, P, C)``, 0 where met.
        generator: Source of the duels; required.

    Returns:
        ``(R, P)`` between 0 and ``1 + C``, see :func:`pairwise_scores`.

    Raises:
        ConfigError: no generator, or fewer than 5 individuals.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass, PPSN 2022; their published code.
    """
    if generator is None:
        raise ConfigError("tournament fitness draws its duels: give a `generator`")
    runs, population = objective.shape
    pairs = sample_pairs(runs, population, generator).to(objective.device)
    return pairwise_scores(objective, violations, pairs)


def sample_pairs(runs: int, population: int, generator: torch.Generator) -> Tensor:
    """Indices of the opponents of all duels, ``(R, 10 P, 2)``, the first ten those of the first tournament.

    Raises:
        ConfigError: fewer than 5 individuals.
    """
    return pair_up(torch.rand(runs, population, UNIFORMS, generator=generator, device=generator.device))


def pair_up(uniforms: Tensor) -> Tensor:
    """The duels ``(R, 10 P, 2)`` of numbers ``(R, P, 25)`` in [0, 1): 5 pick participants, 20 pick opponents.

    Raises:
        ConfigError: fewer than 5 individuals.
    """
    population = uniforms.shape[1]
    if population < PARTICIPANTS:
        raise ConfigError(
            f"`population` must be at least {PARTICIPANTS} for tournament fitness, got {population}; enlarge it or "
            "take fitness 'deb'"
        )
    left = torch.arange(population, population - PARTICIPANTS, -1, dtype=uniforms.dtype, device=uniforms.device)
    # The k-th entry counts among those not yet drawn; undone from the back, as a permutation is read from its Lehmer
    # code.
    participants = (uniforms[..., :PARTICIPANTS] * left).long()
    for place in range(PARTICIPANTS - 2, -1, -1):
        later = participants[..., place + 1 :]
        later += later >= participants[..., place : place + 1]
    first = (uniforms[..., PARTICIPANTS : PARTICIPANTS + DUELS] * PARTICIPANTS).long()
    second = (uniforms[..., PARTICIPANTS + DUELS :] * (PARTICIPANTS - 1)).long()
    second += second >= first
    pairs = participants.gather(-1, torch.cat([first, second], -1))
    sides: Tensor = pairs.unflatten(-1, (2, DUELS)).mT
    return sides.flatten(1, 2)


def pairwise_scores(objective: Tensor, violations: Tensor, pairs: Tensor) -> Tensor:
    """Points over duels, of every individual.

    The lower objective gets a point; at a tie both do. Of each criterion that both violate, the strictly lesser
    violation gets the point, and at a tie the *second* opponent; otherwise everyone who meets it gets one. Feasibility
    is worth no more than a better objective: the rule is published so.

    Args:
        objective: ``(R, P)``.
        violations: ``(R, P, C)``.
        pairs: Opponents, indices ``(R, K, 2)``; the two of a duel differ.

    Returns:
        ``(R, P)``; 0 without a duel.
    """
    contestants = pairs.flatten(1)
    scores = objective.gather(1, contestants).view(pairs.shape)
    points = (scores <= scores.flip(-1)).to(objective.dtype)
    for column in violations.unbind(-1):
        violated = column.gather(1, contestants).view(pairs.shape)
        # Where one of two meets the criterion, the other one's violation is not the lesser.
        less = violated[..., 0] < violated[..., 1]
        points += torch.stack([less, ~less], -1) | (violated <= 0)
    won = torch.zeros_like(objective).scatter_add_(1, contestants, points.flatten(1))
    fought = torch.zeros_like(objective).scatter_add_(1, contestants, torch.ones_like(points).flatten(1))
    return won / fought.clamp(min=1)


def round_robin(objective: Tensor, violations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Points per duel if everyone meets everyone twice, once as first and once as second: what tournaments estimate."""
    better = _wins(objective) + (objective.unsqueeze(2) == objective.unsqueeze(1))
    for column in violations.unbind(-1):
        own, other = column.unsqueeze(2), column.unsqueeze(1)
        # At a tie of two violations the second wins: half of the duels.
        both = torch.where(own < other, 1.0, torch.where(own == other, 0.5, 0.0))
        better = better + torch.where((own > 0) & (other > 0), both, (own <= 0).to(both.dtype))
    population = objective.shape[1]
    own_duel = torch.eye(population, dtype=torch.bool, device=objective.device)
    return better.masked_fill(own_duel, 0).sum(2).to(objective.dtype) / max(population - 1, 1)


def deb(objective: Tensor, violations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Minus the rank by Deb's rules, 0 for the best; equals share a rank.

    The feasible come before the infeasible, the feasible by objective, the infeasible by total violation and then by
    objective.

    References:
        Deb, An Efficient Constraint Handling Method for Genetic Algorithms, CMAME 186, 2000.
    """
    total = total_violation(violations, objective)
    by_objective = objective.argsort(dim=1, stable=True)
    order = by_objective.gather(1, total.gather(1, by_objective).argsort(dim=1, stable=True))
    first, second = objective.gather(1, order), total.gather(1, order)
    differs = (first[:, 1:] != first[:, :-1]) | (second[:, 1:] != second[:, :-1])
    ranks = torch.zeros_like(objective)
    ranks[:, 1:] = differs.cumsum(1)
    return -torch.empty_like(objective).scatter_(1, order, ranks)


def best_by_deb(objective: Tensor, violations: Tensor) -> Tensor:
    """Index of the best by Deb's rules, the first among equals, ``(R,)``, without ranking all."""
    total = total_violation(violations, objective)
    least = total == total.amin(1, keepdim=True)
    lowest = objective.masked_fill(~least, torch.inf).amin(1, keepdim=True)
    return (least & (objective == lowest)).int().argmax(1)


def scalar(
    objective: Tensor, violations: Tensor, generator: torch.Generator | None = None, weight: float = 100.0
) -> Tensor:
    """Minus objective plus ``weight`` times the total violation."""
    return -(objective + weight * total_violation(violations, objective))


def least_violation(objective: Tensor, violations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Minus the total violation, whatever the objective: the search for anything feasible."""
    return -total_violation(violations, objective)


def total_violation(violations: Tensor, objective: Tensor) -> Tensor:
    """Sum over the criteria, ``(R, P)``; zeros without criteria."""
    return violations.sum(-1) if violations.shape[-1] else torch.zeros_like(objective)


def _wins(values: Tensor) -> Tensor:
    """``(R, P, P)``, 1 where the row's individual is lower than the column's."""
    return (values.unsqueeze(2) < values.unsqueeze(1)).to(values.dtype)


FITNESSES: dict[str, Fitness] = {
    "tournament": tournament,
    "round_robin": round_robin,
    "deb": deb,
    "scalar": scalar,
    "violation": least_violation,
}
