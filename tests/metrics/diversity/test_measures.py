"""Pure diversity, duplicates, memorisation and classes against hand values, brute force and a second implementation."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.diversity.classes import class_diversity
from lightning_gvae.metrics.diversity.memory import duplicate_rate, memorisation, nearest_distances
from lightning_gvae.metrics.diversity.pure import hamming, pure_diversity, spanning_tree_weight


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distances(points):
    rows = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return rows.fill_diagonal_(0)


def greedy_written_out(matrix: np.ndarray) -> float:
    """The published greedy on the whole matrix: cycles found by walking the graph anew every time."""
    d = matrix.copy()
    np.fill_diagonal(d, np.inf)
    joined = np.eye(len(d), dtype=bool)
    score = 0.0
    for _ in range(len(d) - 1):
        while True:
            towards = d.argmin(1)
            row = int(d.min(1).argmax())
            column, value = int(towards[row]), d.min(1)[row]
            for one, other in ((row, column), (column, row)):
                if d[one, other] != -np.inf:
                    d[one, other] = np.inf
            reached = joined[row]
            while (wider := joined[reached].any(0)).sum() > reached.sum():
                reached = wider
            if not reached[column]:
                break
        joined[row, column] = joined[column, row] = True
        d[row] = -np.inf
        score += value
    return float(score)


def best_elimination(matrix: np.ndarray) -> float:
    """The recursive definition by brute force: the best order of taking samples out one by one."""

    def rest(left: frozenset[int]) -> float:
        if len(left) == 1:
            return 0.0
        if left not in known:
            known[left] = max(rest(left - {s}) + min(matrix[s, t] for t in left - {s}) for s in left)
        return known[left]

    known: dict[frozenset[int], float] = {}
    return rest(frozenset(range(len(matrix))))


@pytest.mark.parametrize("seed", range(5))
def test_pure_diversity_is_the_published_greedy(seed):
    matrix = distances(normal(40, 3, seed=seed))
    assert pure_diversity(matrix) == pytest.approx(greedy_written_out(matrix.numpy()), rel=1e-12)


def test_neither_the_greedy_nor_the_recursive_definition_is_below_the_spanning_tree():
    for seed in range(10):
        matrix = distances(normal(8, 2, seed=seed))
        greedy, tree, best = pure_diversity(matrix), spanning_tree_weight(matrix), best_elimination(matrix.numpy())
        assert tree <= greedy * (1 + 1e-9) and tree <= best * (1 + 1e-9)
        assert greedy <= best * (1 + 1e-9), "the greedy is one order of elimination"


def test_pure_diversity_by_hand():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert pure_diversity(distances(line)) == spanning_tree_weight(distances(line)) == pytest.approx(7)
    assert pure_diversity(torch.zeros(5, 5)) == 0
    assert pure_diversity(torch.zeros(1, 1)) == 0
    strings = torch.tensor([[[0, 0, 0, 0]], [[0, 0, 0, 1]], [[1, 1, 1, 1]]], dtype=torch.uint8) * 255
    assert hamming(strings).tolist() == [[0, 0.25, 1], [0.25, 0, 0.75], [1, 0.75, 0]]
    assert pure_diversity(hamming(strings)) == pytest.approx(1.0)  # 0.75 to the nearest, then 0.25


def test_hamming_is_a_metric():
    images = (normal(6, 1, 4, 4) > 0).float()
    d = hamming(images)
    for i, j, k in itertools.permutations(range(6), 3):
        assert d[i, j] <= d[i, k] + d[k, j] + 1e-12


@pytest.mark.parametrize(
    "message,matrix", [("square", torch.zeros(2, 3)), ("symmetric", torch.tensor([[0.0, 1], [2, 0]]))]
)
def test_no_matrix_of_distances_is_refused(message, matrix):
    with pytest.raises(DataError, match=message):
        pure_diversity(matrix)


def test_nearest_distances_are_those_of_a_tree(monkeypatch):
    monkeypatch.setattr("lightning_gvae.metrics.diversity.memory.BUDGET", 8 * 700 * 64)  # several pieces
    train, samples = normal(700, 8) * 3 + 50, normal(300, 8, seed=1) * 3 + 50
    expected = cKDTree(train.numpy()).query(samples.numpy(), k=3)[0]
    assert np.allclose(nearest_distances(samples, train, 3).numpy(), expected, rtol=1e-10)
    same = cKDTree(train.numpy()).query(train.numpy(), k=2)[0][:, 1]
    assert np.allclose(nearest_distances(train, train, same=True)[:, 0].numpy(), same, rtol=1e-10)


def test_near_neighbours_far_from_zero_keep_their_digits():
    far = torch.tensor([[1e6, 1e6], [1e6 + 1e-4, 1e6], [0.0, 0.0]], dtype=torch.float64)
    assert nearest_distances(far, far, same=True)[0, 0].item() == pytest.approx(1e-4, rel=1e-6)


def test_duplicates_are_counted():
    samples = torch.cat([normal(60, 4), normal(20, 4, seed=1), normal(20, 4, seed=1)])
    assert duplicate_rate(samples) == pytest.approx(0.4)
    assert duplicate_rate(normal(60, 4)) == 0
    assert duplicate_rate(torch.ones(10, 3)) == 1
    assert duplicate_rate(torch.tensor([[0.0], [0.5], [5.0]]), 0.6) == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="`threshold` must be a distance of 0 or more"):
        duplicate_rate(samples, -1)


def test_memorisation_of_copies_of_new_samples_and_of_a_mixture():
    """New samples of the same law are near as often as held-out ones; copies are found; half copies give the half."""
    rates, train = [], normal(2000, 6)
    held_out = normal(1000, 6, seed=1)
    for seed in range(2, 8):
        fresh = normal(1000, 6, seed=seed)
        rates.append(memorisation(fresh, train, held_out).near)
    assert 0.03 < np.mean(rates) < 0.07
    copied = train[:500] + 1e-3 * normal(500, 6, seed=9)
    found = memorisation(torch.cat([copied, normal(500, 6, seed=10)]), train, held_out)
    assert found.near == pytest.approx(0.525, abs=0.03)
    assert found.copies == pytest.approx(0.5, abs=0.03)
    assert memorisation(train[:100], train, held_out).near == 1
    assert found.threshold < found.held_out_median


def test_classes_by_hand():
    labels = torch.tensor([0] * 50 + [1] * 50)
    found = class_diversity(labels, 4)
    assert found.coverage == 0.5 and found.imbalance == pytest.approx(0.5)
    assert found.entropy == pytest.approx(np.log(2)) and found.effective == pytest.approx(2)
    assert class_diversity(labels, 4, reference=torch.tensor([0.5, 0.5, 0, 0])).imbalance == 0
    rare = torch.tensor([0] * 99 + [1])
    assert class_diversity(rare, 2).coverage == 1 and class_diversity(rare, 2, least=0.05).coverage == 0.5
    logits = torch.eye(3)[torch.tensor([2, 2, 0])]
    assert class_diversity(logits, 3).coverage == pytest.approx(2 / 3)
    with pytest.raises(DataError, match=r"must lie in 0..2, got 0..3"):
        class_diversity(torch.tensor([0, 3]), 3)
    with pytest.raises(ConfigError, match="`reference` must be 4 shares"):
        class_diversity(labels, 4, reference=torch.ones(4))
