"""Penalties of DIP-VAE against NumPy's covariance."""

import numpy as np
import pytest
import torch

from lightning_gvae.losses.covariance import covariance_penalty
from lightning_gvae.rng import torch_stream


@pytest.mark.parametrize("kind", ["I", "II"])
def test_penalties_are_those_of_numpys_covariance(kind):
    generator = torch_stream(0, "codes")
    mean = torch.randn(40, 5, generator=generator, dtype=torch.float64) @ torch.randn(
        5, 5, generator=generator, dtype=torch.float64
    )
    log_var = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    covariance = np.cov(mean.numpy(), rowvar=False, bias=True)
    if kind == "II":
        covariance = covariance + np.diag(np.exp(log_var.numpy()).mean(0))
    off = covariance - np.diag(np.diag(covariance))
    found = covariance_penalty(mean, log_var, kind)
    assert found.off_diagonal.item() == pytest.approx((off**2).sum())
    assert found.diagonal.item() == pytest.approx(((np.diag(covariance) - 1) ** 2).sum())


def test_an_identity_covariance_costs_nothing():
    # four corners of a square: means of covariance I
    mean = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert covariance_penalty(mean, torch.zeros(4, 2), "I") == (0.0, 0.0)
    assert covariance_penalty(mean, torch.zeros(4, 2), "II") == (0.0, 2.0)


def test_one_image_has_no_covariance():
    penalty = covariance_penalty(torch.ones(1, 3), torch.zeros(1, 3), "I")
    assert penalty == (0.0, 3.0)
