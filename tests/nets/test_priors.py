"""Priors: densities that integrate to one, maps with the right Jacobian, draws that follow the density."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.priors import PRIORS, MixturePrior, RealNVPPrior, build_prior
from lightning_gvae.rng import torch_stream

NAMES = pytest.mark.parametrize("name", PRIORS)


def moved(name, dim, **settings):
    """A prior away from its start, as training leaves it, small enough to lie on the grids below; fp64."""
    settings = {"hidden": 8} | settings if name == "realnvp" else settings
    prior = build_prior(name, dim, torch_stream(0, "prior"), **settings).double()
    stream = torch_stream(1, "move")
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=stream, dtype=torch.float64)
    return prior


@NAMES
def test_the_density_integrates_to_one(name):
    line = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    total = torch.exp(moved(name, 1).log_prob(line[:, None])).sum() * (line[1] - line[0])
    assert total.item() == pytest.approx(1, abs=1e-4)
    line = torch.linspace(-9, 9, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    total = torch.exp(moved(name, 2).log_prob(grid)).sum() * (line[1] - line[0]) ** 2
    assert total.item() == pytest.approx(1, abs=2e-3)


@NAMES
def test_draws_follow_the_density(name):
    """Means and variances of 20,000 draws against those of the density on a grid, five standard errors wide."""
    prior = moved(name, 2)
    draws = prior.sample(20_000, torch_stream(0, "draws"), torch.device("cpu")).detach().double()
    assert draws.shape == (20_000, 2)
    line = torch.linspace(-9, 9, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    weights = torch.exp(prior.log_prob(grid)) * (line[1] - line[0]) ** 2
    weights = weights.detach()
    mean = (weights[:, None] * grid).sum(0)
    variance = (weights[:, None] * (grid - mean).square()).sum(0)
    assert ((draws.mean(0) - mean).abs() < 5 * (variance / 20_000).sqrt()).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.08, atol=0)
    again = prior.sample(20_000, torch_stream(0, "draws"), torch.device("cpu")).detach().double()
    torch.testing.assert_close(draws, again, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["realnvp", "gmm"])
def test_every_parameter_gets_a_gradient(name):
    prior = moved(name, 3)
    prior.log_prob(torch.randn(32, 3, generator=torch_stream(0, "z"), dtype=torch.float64)).sum().backward()
    for label, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label
    assert not list(moved("normal", 3).parameters())


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_flow_has_an_inverse_and_the_jacobian_of_autograd(dim, depth):
    prior = moved("realnvp", dim, hidden=16, depth=depth)
    latents = torch.randn(4, dim, generator=torch_stream(0, "z"), dtype=torch.float64)
    noise, log_det = prior.flow(latents)
    torch.testing.assert_close(prior.from_noise(noise), latents)
    for row in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda z: prior.flow(z[None])[0][0], latents[row])
        torch.testing.assert_close(log_det[row], torch.linalg.slogdet(jacobian).logabsdet)
    assert (log_det.abs() > 1e-3).any()


def test_couplings_take_turns():
    """Two couplings in a row change different dimensions, so that two change all of them."""
    masks = RealNVPPrior(4, torch_stream(0, "m"), layers=5).flow.masks
    assert all(torch.equal(first + second, torch.ones(4)) for first, second in pairwise(masks))


def test_a_new_flow_is_the_standard_normal():
    latents = torch.randn(5, 3, generator=torch_stream(0, "z"))
    prior = RealNVPPrior(3, torch_stream(0, "p"))
    expected = Normal(0.0, 1.0).log_prob(latents).sum(1)
    torch.testing.assert_close(prior.log_prob(latents), expected)
    torch.testing.assert_close(prior.from_noise(latents), latents)
    torch.testing.assert_close(build_prior("normal", 3, torch_stream(0, "p")).log_prob(latents), expected)


def test_the_published_log_determinant_is_counted_once_a_dimension():
    once, published = moved("realnvp", 2), moved("realnvp", 2, repeat_log_det=True)
    latents = torch.randn(6, 2, generator=torch_stream(0, "z"), dtype=torch.float64)
    torch.testing.assert_close(published.log_prob(latents) - once.log_prob(latents), once.flow(latents)[1])


def test_the_mixture_is_that_of_torch():
    prior = moved("gmm", 3, components=4)
    parts = Independent(Normal(prior.means, prior.log_sigmas.exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=prior.logits), parts)
    latents = 2 * torch.randn(50, 3, generator=torch_stream(0, "z"), dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(latents), expected.log_prob(latents))


def test_only_maps_of_noise_decode_noise():
    noise = torch.randn(2, 3, generator=torch_stream(0, "z"))
    torch.testing.assert_close(build_prior("normal", 3, torch_stream(0, "p")).from_noise(noise), noise)
    with pytest.raises(ConfigError, match="MixturePrior is not a map of standard normal noise"):
        MixturePrior(3, torch_stream(0, "p")).from_noise(noise)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    for name in PRIORS:
        build_prior(name, 3, torch_stream(0, "p")).sample(4, torch_stream(0, "s"), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("flow", {}, "`prior` must be one of normal, realnvp, gmm, got 'flow'"),
        ("normal", {"layers": 3}, "the prior 'normal' has no setting layers; it knows none"),
        ("gmm", {"layers": 3}, "the prior 'gmm' has no setting layers; it knows components"),
        ("realnvp", {"layers": 0}, "`prior_settings.layers` must be an integer of at least 1, got 0"),
        ("gmm", {"components": math.nan}, "`prior_settings.components` must be an integer"),
    ],
)
def test_mistakes_are_named(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_prior(name, 2, torch_stream(0, "p"), **settings)
