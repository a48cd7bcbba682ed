"""Tournament fitness against a literal loop and its expectation; Deb's rules against sorting."""

import math
from functools import cmp_to_key

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.constraint_handling import (
    FITNESSES,
    best_by_deb,
    deb,
    least_violation,
    pairwise_scores,
    round_robin,
    sample_pairs,
    scalar,
    tournament,
)


def crowd(runs=3, population=20, count=2, seed=0):
    """Individuals of which some are equal, some feasible."""
    generator = torch.Generator().manual_seed(seed)
    objective = torch.randint(0, 8, (runs, population), generator=generator).float()
    violations = torch.randint(-2, 4, (runs, population, count), generator=generator).clamp(min=0).float()
    return objective, violations


def literal(objective, violations, pairs):
    """The published rule, duel by duel, for one run."""
    points, matches = [0.0] * len(objective), [0] * len(objective)
    for a, b in pairs:
        matches[a] += 1
        matches[b] += 1
        if objective[a] < objective[b]:
            points[a] += 1
        elif objective[b] < objective[a]:
            points[b] += 1
        else:
            points[a] += 1
            points[b] += 1
        for own, other in zip(violations[a], violations[b], strict=True):
            if own > 0 and other > 0:
                points[a if own < other else b] += 1
            else:
                points[a] += own == 0
                points[b] += other == 0
    return [p / m if m else 0.0 for p, m in zip(points, matches, strict=True)]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("population", [5, 6, 20, 41])
def test_vectorised_duels_are_a_literal_loop(population, count):
    objective, violations = crowd(4, population, count, seed=population)
    pairs = sample_pairs(4, population, torch.Generator().manual_seed(1))
    scores = pairwise_scores(objective, violations, pairs)
    for run in range(4):
        expected = literal(objective[run].tolist(), violations[run].tolist(), pairs[run].tolist())
        assert scores[run].tolist() == pytest.approx(expected, abs=1e-6)
    drawn = tournament(objective, violations, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, scores)


def test_every_tournament_has_five_participants_and_duels_of_two():
    pairs = sample_pairs(50, 20, torch.Generator().manual_seed(2)).reshape(50, 20, 10, 2)
    assert pairs.min() == 0
    assert pairs.max() == 19
    assert (pairs[..., 0] != pairs[..., 1]).all()
    assert max(len(set(ten.flatten().tolist())) for run in pairs for ten in run) == 5


def test_duels_are_as_many_and_as_spread_as_published():
    pairs = sample_pairs(2000, 20, torch.Generator().manual_seed(3))
    assert pairs.shape == (2000, 200, 2)
    matches = torch.zeros(2000, 20).scatter_add_(1, pairs.flatten(1), torch.ones(2000, 400))
    assert matches.mean().item() == 20
    assert matches.std().item() == pytest.approx(8.5, abs=0.1)
    assert (matches == 0).double().mean().item() == pytest.approx(0.0035, abs=0.001)


def test_all_pairs_are_equally_frequent():
    pairs = sample_pairs(4000, 5, torch.Generator().manual_seed(4)).flatten(0, 1)
    counts = torch.bincount(5 * pairs[:, 0] + pairs[:, 1], minlength=25).double()
    off = counts.reshape(5, 5)[~torch.eye(5, dtype=torch.bool)]
    expected = len(pairs) / 20
    assert (((off - expected) ** 2 / expected).sum()).item() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


def test_a_duel_gives_one_or_two_points_for_the_objective():
    objective, _ = crowd(5, 20, 0)
    pairs = sample_pairs(5, 20, torch.Generator().manual_seed(5))
    ones = torch.ones(5, 400)
    matches = torch.zeros(5, 20).scatter_add_(1, pairs.flatten(1), ones)
    points = (pairwise_scores(objective, torch.zeros(5, 20, 0), pairs) * matches).sum(1)
    ties = (objective.gather(1, pairs[..., 0]) == objective.gather(1, pairs[..., 1])).sum(1)
    torch.testing.assert_close(points, 200.0 + ties)
    assert (ties > 0).all()


def test_all_pairs_in_both_roles_are_the_round_robin():
    objective, violations = crowd(4, 9, 2)
    every = torch.tensor([[a, b] for a in range(9) for b in range(9) if a != b]).expand(4, -1, -1)
    torch.testing.assert_close(round_robin(objective, violations), pairwise_scores(objective, violations, every))


def test_round_robin_is_the_mean_of_tournaments():
    objective, violations = crowd(1, 12, 2)
    many = tournament(objective.expand(4000, -1), violations.expand(4000, -1, -1), torch.Generator().manual_seed(6))
    exact = round_robin(objective, violations)[0]
    error = many.std(0) / math.sqrt(4000)
    # A ratio of sums, with a few empty ones that count 0: a small bias on top of the noise.
    assert ((many.mean(0) - exact).abs() < 5 * error + 0.02).all()


def test_feasibility_is_worth_no_more_than_a_better_objective():
    fitness = round_robin(torch.tensor([[1.0, 2.0]]), torch.tensor([[[5.0], [0.0]]]))
    assert fitness.tolist() == [[1.0, 1.0]]


def test_deb_ranks_as_sorting_by_its_rules_does():
    objective, violations = crowd(6, 30, 2)
    ranks = -deb(objective, violations)
    for run in range(6):
        total = violations[run].sum(-1).tolist()
        value = objective[run].tolist()

        def before(a, b, total=total, value=value):
            if total[a] != total[b]:
                return -1 if total[a] < total[b] else 1
            return (value[a] > value[b]) - (value[a] < value[b])

        for a in range(30):
            for b in range(30):
                assert (ranks[run, a] - ranks[run, b]).sign() == before(a, b)
        best = min(range(30), key=cmp_to_key(before))
        assert ranks[run, best] == 0
    assert ranks.max() < 30


def test_deb_without_criteria_is_the_objective():
    objective = torch.tensor([[3.0, 1.0, 2.0, 1.0]])
    assert deb(objective, torch.zeros(1, 4, 0)).tolist() == [[-2, 0, -1, 0]]


def test_infinite_is_worst():
    objective = torch.tensor([[3.0, math.inf, 2.0, math.inf, 5.0]])
    violations = torch.tensor([[[0.0], [0.0], [1.0], [math.inf], [2.0]]])
    assert deb(objective, violations).tolist() == [[0, -1, -2, -4, -3]]


def test_penalty_and_violation():
    objective, violations = torch.tensor([[3.0, 1.0]]), torch.tensor([[[0.0, 0.0], [0.5, 1.0]]])
    assert scalar(objective, violations, weight=10.0).tolist() == [[-3.0, -16.0]]
    assert least_violation(objective, violations).tolist() == [[0.0, -1.5]]


@pytest.mark.parametrize("name", FITNESSES)
def test_every_fitness_treats_runs_alone_and_prefers_the_dominating(name):
    objective, violations = crowd(5, 8, 1, seed=9)
    objective[:, 3], violations[:, 3] = -1.0, 0.0
    generator = torch.Generator().manual_seed(7)
    fitness = FITNESSES[name](objective, violations, generator)
    assert fitness.shape == (5, 8)
    assert (fitness[:, 3] >= fitness.max(1).values - 1e-6).all()
    if name != "tournament":
        alone = torch.cat([FITNESSES[name](o[None], v[None], None) for o, v in zip(objective, violations, strict=True)])
        assert torch.equal(alone, fitness)


def test_tournaments_need_a_generator_and_five():
    with pytest.raises(ConfigError, match="give a `generator`"):
        tournament(*crowd())
    with pytest.raises(ConfigError, match="`population` must be at least 5 for tournament fitness, got 4"):
        tournament(*crowd(population=4), torch.Generator())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_best_by_debs_rules_is_where_their_rank_is_highest(count):
    for seed in range(20):
        objective, violations = crowd(5, 12, count, seed)
        assert torch.equal(best_by_deb(objective, violations), deb(objective, violations).argmax(1))
    infinite = torch.full((1, 3), math.inf)
    assert best_by_deb(infinite, torch.tensor([[[2.0], [1.0], [1.0]]])).tolist() == [1]
    assert best_by_deb(infinite, torch.full((1, 3, 1), math.inf)).tolist() == [0]
