"""Scores of codes without labels against closed forms."""

import math

import pytest
import torch

from lightning_gvae.metrics.code_scores import CODE_SCORES, active_units, code_scores, gaussian_total_correlation
from lightning_gvae.rng import torch_stream


def codes(n=4000, z=2, seed=0):
    return torch.randn(n, z, generator=torch_stream(seed, "codes"), dtype=torch.float64)


def test_total_correlation_of_correlated_gaussians_is_that_of_the_closed_form():
    rho = 0.6
    z = codes()
    z = torch.stack([z[:, 0], rho * z[:, 0] + math.sqrt(1 - rho**2) * z[:, 1]], dim=1) * torch.tensor([2.0, 0.5])
    assert gaussian_total_correlation(z) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.02)
    assert gaussian_total_correlation(codes()) == pytest.approx(0, abs=2e-3)


def test_collapsed_dimensions_are_left_out():
    z = torch.cat([codes(), 1e-3 * codes(seed=1)], dim=1)
    assert active_units(z) == 2
    assert gaussian_total_correlation(z) == gaussian_total_correlation(z[:, :2])
    assert gaussian_total_correlation(z[:, :1]) == gaussian_total_correlation(z[:, 2:]) == 0.0


def test_the_parts_of_the_kl_add_up_and_scores_of_broken_posteriors_are_nan():
    mean, log_var = 2 * codes(300).float(), torch.full((300, 2), -2.0)
    parts = code_scores(("information", "total_correlation", "dimension_wise_kl"), mean, log_var)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
    assert sum(parts) == pytest.approx(float(kl), rel=0.03)
    assert code_scores(("active_units",), mean, log_var) == [2.0]
    mean[0, 0] = math.nan
    assert all(math.isnan(value) for value in code_scores(tuple(CODE_SCORES), mean, log_var))
