"""Maximum mean discrepancy against a loop, and against its closed form for Gaussians."""

import math

import pytest
import torch

from lightning_gvae.losses.mmd import KERNELS, mmd
from lightning_gvae.rng import torch_stream


def sample(n, z=3, shift=0.0, seed=0):
    return shift + torch.randn(n, z, generator=torch_stream(seed, "sample"), dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_mmd_is_what_a_loop_over_pairs_says(kernel, bandwidth):
    x, y, h = sample(5), sample(7, shift=0.5, seed=1), bandwidth or 6.0

    def k(a, b):
        distance = sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True))
        return math.exp(-distance / h) if kernel == "rbf" else h / (h + distance)

    def mean(first, second):
        return sum(k(a, b) for a in first for b in second) / (len(first) * len(second))

    assert mmd(x, y, kernel, bandwidth).item() == pytest.approx(mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_mmd_of_gaussians_is_that_of_the_closed_form():
    # E exp(-|u|^2 / h) of a Gaussian difference u with variance s a dimension and mean shift m in one dimension
    z, shift, n = 2, 1.2, 2000
    h = 2.0 * z

    def expected(variance, mean):
        return (h / (h + 2 * variance)) ** (z / 2) * math.exp(-(mean**2) / (h + 2 * variance))

    exact = 2 * expected(2.0, 0.0) - 2 * expected(2.0, shift)
    offset = torch.tensor([shift, 0.0])
    bias = 2 / n * (1 - expected(2.0, 0.0))
    assert mmd(sample(n, z), sample(n, z, seed=1) + offset).item() == pytest.approx(exact + bias, rel=0.1)
    assert mmd(sample(n, z), sample(n, z, seed=1)).item() == pytest.approx(bias, abs=3e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_symmetric_never_negative_and_zero_for_the_same_points(kernel):
    x, y = sample(6), sample(9, seed=1)
    assert mmd(x, y, kernel).item() == pytest.approx(mmd(y, x, kernel).item())
    assert mmd(x, y, kernel) > 0
    assert mmd(x, x.flip(0), kernel).item() == pytest.approx(0, abs=1e-12)
