"""Vendi score against closed forms, and against its definition written out with eigenvalues of NumPy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import linalg

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.diversity.effective import effective_number
from lightning_gvae.metrics.diversity.vendi import unit_rows, vendi_features, vendi_kernel, vendi_rbf, vendi_samples

ORDERS = (0, 0.5, 1, 2, 5, float("inf"))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(kernel: np.ndarray, order: float, p: np.ndarray) -> float:
    """exp of the Rényi entropy of the eigenvalues, by SciPy on the n x n matrix."""
    values = linalg.eigvalsh(kernel * np.sqrt(np.outer(p, p)))
    values = values[values > 1e-12 * values.max()]
    if order == 0:
        return len(values)
    if order == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    if np.isinf(order):
        return float(1 / values.max())
    return float((values**order).sum() ** (1 / (1 - order)))


@pytest.mark.parametrize("order", ORDERS)
def test_equal_samples_count_once_and_orthogonal_ones_each(order):
    assert vendi_kernel(torch.ones(7, 7), order) == pytest.approx(1)
    assert vendi_kernel(torch.eye(7), order) == pytest.approx(7)
    assert vendi_features(torch.ones(50, 3), order) == pytest.approx(1)
    assert vendi_features(torch.eye(9) * 4, order) == pytest.approx(9)  # lengths do not count


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_of_equal_samples_are_the_hill_number_of_their_sizes(order):
    sizes = torch.tensor([1, 3, 4, 12])
    features = torch.eye(4, dtype=torch.float64).repeat_interleave(sizes, 0)
    expected = effective_number(sizes / 20, order)
    assert vendi_features(features, order) == pytest.approx(expected)
    assert vendi_kernel(features @ features.T, order) == pytest.approx(expected)


@pytest.mark.parametrize("order", ORDERS)
def test_weights_with_the_identity_kernel_are_the_hill_number(order):
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])
    assert vendi_kernel(torch.eye(4), order, p) == pytest.approx(effective_number(p, order))


@pytest.mark.parametrize(("n", "d"), [(5, 9), (60, 7), (300, 32)])
@pytest.mark.parametrize("order", [0.5, 1, 2, 3, float("inf")])
def test_dual_kernel_and_definition_agree(n, d, order):
    features = normal(n, d)
    kernel = (unit_rows(features) @ unit_rows(features).T).numpy()
    p = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for weights in (None, p / p.sum()):
        shares = np.full(n, 1 / n) if weights is None else weights.numpy()
        expected = by_definition(kernel, order, shares)
        # Below order 1 rounding in empty directions of the n x n matrix is felt.
        close = 1e-10 if order >= 1 else 1e-5
        assert vendi_features(features, order, weights) == pytest.approx(expected, rel=close)
        assert vendi_kernel(torch.from_numpy(kernel), order, weights) == pytest.approx(expected, rel=close)


def test_published_examples():
    """The two examples of the published package's page, which prints 2.9999 for the second."""
    assert vendi_kernel(torch.tensor([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])) == pytest.approx(2.1573, abs=5e-5)
    values = [0, 0, 10, 10, 20, 20]
    assert vendi_samples(values, lambda a, b: float(np.exp(-abs(a - b)))) == pytest.approx(3, abs=1e-4)


def test_the_score_falls_with_the_order():
    features = normal(100, 10)
    scores = [vendi_features(features, order) for order in ORDERS]
    assert scores == sorted(scores, reverse=True)


def test_pieces_do_not_matter():
    features = normal(5000, 6).float()
    assert vendi_features(features) == pytest.approx(
        vendi_kernel(unit_rows(features[:1]) @ unit_rows(features[:1]).T) * vendi_features(features), rel=1e-12
    )
    moment = unit_rows(features).T @ unit_rows(features) / 5000
    assert vendi_features(features) == pytest.approx(effective_number(torch.linalg.eigvalsh(moment)), rel=1e-10)


def test_gaussian_kernel_exact_by_chunks_and_by_landmarks():
    centres = normal(8, 5) * 10
    features = centres.repeat(40, 1) + 0.05 * normal(320, 5, seed=1)
    kernel = torch.exp(-(torch.cdist(features, features) ** 2) / 2)
    for order in (0.5, 1, 2, 3):
        assert vendi_rbf(features, 1.0, order) == pytest.approx(vendi_kernel(kernel, order), rel=1e-8)
    exact = vendi_rbf(features, 1.0)
    assert vendi_rbf(features, 1.0, landmarks=320) == pytest.approx(exact, rel=1e-6)
    assert vendi_rbf(features, 1.0, landmarks=160) == pytest.approx(exact, rel=0.01)
    assert vendi_rbf(features, 1.0, landmarks=160, seed=1) == vendi_rbf(features, 1.0, landmarks=160, seed=1)
    assert 7.5 < exact < 9.5  # eight clusters, with a little spread inside
    with pytest.raises(ConfigError, match="up to 4096 samples, got 5000; give `landmarks`"):
        vendi_rbf(normal(5000, 2), 1.0)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.tensor([[1, 0.9, 0.0], [0.9, 1, 0.9], [0.0, 0.9, 1]]), r"not positive semi-definite: .* is -0\.0909"),
        (torch.tensor([[1, 0.5], [0.2, 1]]), "must be symmetric, but .* differ by up to 0.3"),
        (torch.tensor([[2, 0.5], [0.5, 2]]), "must be 1 on its diagonal.*off by up to 1"),
        (torch.ones(2, 3), r"square matrix of similarities \(n, n\), got \(2, 3\)"),
        (torch.full((2, 2), torch.nan), "finite"),
    ],
)
def test_a_matrix_that_is_no_kernel_is_refused(kernel, message):
    with pytest.raises(DataError, match=message):
        vendi_kernel(kernel)


def test_other_bad_input_is_named():
    with pytest.raises(ConfigError, match="`order` must be 0 or more, or inf, got -1"):
        vendi_features(normal(3, 3), -1)
    with pytest.raises(ConfigError, match="`weights` must be 3 numbers of 0 or more that sum to 1"):
        vendi_features(normal(3, 3), 1, torch.ones(3))
    with pytest.raises(DataError, match="1 of 3 feature vectors are all zero"):
        vendi_features(torch.tensor([[1.0, 0], [0, 0], [0, 1]]))
    with pytest.raises(DataError, match="must be finite"):
        vendi_features(torch.full((3, 2), torch.inf))
    with pytest.raises(ConfigError, match="`bandwidth` must be above 0"):
        vendi_rbf(normal(3, 3), 0)
    with pytest.raises(ConfigError, match="`shares` must be one row"):
        effective_number(torch.tensor([0.5, 0.6]))


def test_ten_thousand_samples_take_no_matrix_of_ten_thousand_squared():
    """800 MB would be needed for it; a process of its own tells its peak."""
    program = """
import resource, torch
from lightning_gvae.metrics.diversity.vendi import vendi_features
features = torch.randn(10_000, 512, generator=torch.Generator().manual_seed(0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
score = vendi_features(features)
print(score, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    score, grown = map(float, done.stdout.split())
    # Random directions: eigenvalues by Marchenko and Pastur, ratio 512 / 10,000, for which log D + ... is -ratio / 2.
    assert score == pytest.approx(512 * np.exp(-512 / 10_000 / 2), rel=2e-3)
    assert grown * (1 if sys.platform == "darwin" else 1024) < 300e6
