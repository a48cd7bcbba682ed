"""Likelihoods, KL and rates against closed forms and torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from lightning_gvae.errors import ConfigError
from lightning_gvae.losses.elbo import (
    LOG_SIGMA_FLOOR,
    OptimalSigmaLikelihood,
    build_likelihood,
    capacity_rate,
    free_bits_rate,
    gaussian_kl,
    reparameterise,
)
from lightning_gvae.rng import torch_stream


@pytest.fixture
def output_and_images():
    generator = torch_stream(0, "test")
    return (
        torch.randn(5, 1, 6, 6, generator=generator, dtype=torch.float64),
        torch.rand(5, 1, 6, 6, generator=generator, dtype=torch.float64),
    )


def test_bernoulli_is_the_log_probability_summed_over_pixels(output_and_images):
    output, images = output_and_images
    binary = (images > 0.5).double()
    expected = -Bernoulli(logits=output).log_prob(binary).sum((1, 2, 3))
    torch.testing.assert_close(build_likelihood("bernoulli")(output, binary), expected)


@pytest.mark.parametrize("name", ["gaussian", "learnt_sigma"])
def test_gaussian_is_the_log_density_including_its_constant(name, output_and_images):
    output, images = output_and_images
    likelihood = build_likelihood(name, sigma=0.3)
    sigma = likelihood.resolve_log_sigma(images).exp()
    expected = -Normal(torch.sigmoid(output), sigma.double()).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(likelihood(output, images), expected, rtol=1e-6, atol=1e-4)
    assert sigma.item() == pytest.approx(0.3, rel=1e-2)


def test_optimal_sigma_is_the_root_mean_squared_error(output_and_images):
    output, images = output_and_images
    likelihood = OptimalSigmaLikelihood()
    squared = (torch.sigmoid(output) - images).square()
    sigma = likelihood.resolve_log_sigma(squared.flatten(1)).exp()
    # The soft floor at exp(-6) adds about exp(-6) / sigma to the logarithm.
    assert sigma.item() == pytest.approx(squared.mean().sqrt().item(), rel=2 * math.exp(LOG_SIGMA_FLOOR) / 0.3)
    # At the optimum the quadratic term is half a nat a pixel, so the loss is pixels * (log sigma + 1/2 log 2 pi e).
    loss = likelihood(output, images).mean().item()
    assert loss == pytest.approx(
        36 * (math.log(sigma.item()) + 0.5 * math.log(2 * math.pi * math.e)), abs=36 * math.exp(-6) / 0.3
    )


def test_optimal_sigma_does_not_look_at_the_test_batch(output_and_images):
    output, images = output_and_images
    likelihood = OptimalSigmaLikelihood()
    likelihood(output, images)
    trained = likelihood.log_sigma.clone()
    likelihood.eval()
    alone = likelihood(output[:1], images[:1])
    together = likelihood(output, images)
    torch.testing.assert_close(alone[0], together[0])
    assert likelihood.log_sigma == trained


def test_optimal_sigma_gradient_is_that_of_the_batch_variance(output_and_images):
    output, images = output_and_images
    output = output.requires_grad_()
    OptimalSigmaLikelihood()(output, images).sum().backward()
    # d/dx of N/2 log(mean squared error) with N = all pixels of the batch
    squared = (torch.sigmoid(output) - images).square()
    (expected,) = torch.autograd.grad(0.5 * images.numel() * squared.mean().log(), output)
    torch.testing.assert_close(output.grad, expected, rtol=0.02, atol=1e-3)


def test_kl_agrees_with_torch_distributions_and_is_zero_at_the_prior():
    generator = torch_stream(1, "test")
    mean = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    log_var = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, torch.exp(0.5 * log_var)), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_var), expected)
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).abs().max() == 0


@pytest.mark.parametrize("log_var", [-80.0, 80.0])
def test_kl_and_sampling_stay_finite_at_extreme_log_variances(log_var):
    extreme = torch.full((2, 3), log_var, requires_grad=True)
    kl = gaussian_kl(torch.zeros(2, 3), extreme)
    kl.sum().backward()
    assert torch.isfinite(kl).all()
    assert torch.isfinite(extreme.grad).all()
    assert torch.isfinite(reparameterise(torch.zeros(2, 3), extreme.detach(), torch_stream(0, "n"))).all()


def test_kl_keeps_its_digits_near_the_prior():
    # 1/2 (e^v - 1 - v) = v^2/4 + O(v^3); a naive exp(v) - 1 in fp32 is wrong in the first digit here
    log_var = torch.tensor([[1e-3]])
    assert gaussian_kl(torch.zeros(1, 1), log_var).item() == pytest.approx(2.5004e-7, rel=1e-3)


def test_reparameterise_has_the_stated_moments_and_stream():
    mean, log_var = torch.full((200_000, 1), 2.0), torch.full((200_000, 1), math.log(9.0))
    sample = reparameterise(mean, log_var, torch_stream(3, "n"))
    assert sample.mean().item() == pytest.approx(2.0, abs=5 * 3 / math.sqrt(200_000))
    assert sample.std().item() == pytest.approx(3.0, abs=5 * 3 / math.sqrt(400_000))
    torch.testing.assert_close(sample, reparameterise(mean, log_var, torch_stream(3, "n")), rtol=0, atol=0)


def test_free_bits_at_zero_is_the_kl_and_stops_gradients_below():
    kl_dims = torch.tensor([0.1, 2.0, 0.0], requires_grad=True)
    assert free_bits_rate(kl_dims, 0.0) == kl_dims.sum()
    rate = free_bits_rate(kl_dims, 0.5)
    assert rate.item() == pytest.approx(0.5 + 2.0 + 0.5)
    rate.backward()
    assert kl_dims.grad.tolist() == [0.0, 1.0, 0.0]


def test_capacity_is_the_distance():
    assert capacity_rate(torch.tensor(3.0), 5.0) == 2
    assert capacity_rate(torch.tensor(8.0), 5.0) == 3


@pytest.mark.parametrize(
    ("name", "sigma", "message"),
    [
        ("poisson", None, "`likelihood` must be one of bernoulli"),
        ("gaussian", 0.0, "`sigma` must be positive, got 0.0"),
        ("bernoulli", 0.1, "`sigma` belongs to the Gaussian"),
    ],
)
def test_bad_likelihoods_are_refused(name, sigma, message):
    with pytest.raises(ConfigError, match=message):
        build_likelihood(name, sigma)
