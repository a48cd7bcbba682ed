"""The parts of the KL against closed forms and numerical integration."""

import math

import pytest
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.losses.elbo import gaussian_kl
from lightning_gvae.metrics.aggregate_posterior import aggregate_kl
from lightning_gvae.rng import torch_stream


def random_posteriors(n=300, latent=4, seed=0):
    generator = torch_stream(seed, "posteriors")
    mean = torch.randn(n, latent, generator=generator)
    mean[:, 1] += 0.8 * mean[:, 0]
    return mean, torch.randn(n, latent, generator=generator) - 2


@pytest.mark.parametrize("seed", range(4))
def test_the_three_parts_add_up_to_the_mean_kl(seed):
    mean, log_var = random_posteriors(seed=seed)
    parts = aggregate_kl(mean, log_var, torch_stream(seed, "z"), draws=3000)
    total = parts.mutual_information + parts.total_correlation + parts.dimension_wise_kl
    torch.testing.assert_close(parts.kl, gaussian_kl(mean, log_var).sum(1).mean().double(), rtol=1e-5, atol=0)
    # The sum of independent errors is an upper bound here up to sqrt(3): the parts share their draws.
    assert abs(total - parts.kl) < 4 * parts.errors.square().sum().sqrt() * math.sqrt(3)
    assert abs(total - parts.kl) < 0.2
    torch.testing.assert_close(parts.marginal_kl.sum(), parts.dimension_wise_kl)
    torch.testing.assert_close(parts.prior_kl, parts.total_correlation + parts.dimension_wise_kl)
    assert parts.ceiling == pytest.approx(math.log(300))


def test_the_errors_are_those_of_repeated_runs():
    mean, log_var = random_posteriors(n=100)
    runs = [aggregate_kl(mean, log_var, torch_stream(seed, "z"), draws=400) for seed in range(40)]
    spread = torch.stack([torch.stack(run[:3]) for run in runs]).std(0)
    claimed = torch.stack([run.errors for run in runs]).mean(0)
    # Every posterior is drawn from equally often, so the claim errs on the safe side.
    assert (spread < 1.4 * claimed).all()
    assert (spread > 0.3 * claimed).all()


def test_a_grid_of_equal_posteriors_has_no_total_correlation():
    first, second = torch.tensor([-2.0, 0.0, 1.0, 3.0]), torch.tensor([-1.0, 0.5, 2.5])
    mean = torch.cartesian_prod(first, second)
    parts = aggregate_kl(mean, torch.full_like(mean, -1.0), torch_stream(0, "z"), draws=500)
    assert abs(parts.total_correlation) < 1e-12


def test_copies_of_one_posterior_carry_no_information():
    mean, log_var = torch.tensor([[0.7, -2.0]]), torch.tensor([[-3.0, 0.5]])
    parts = aggregate_kl(mean.repeat(50, 1), log_var.repeat(50, 1), torch_stream(0, "z"), draws=2000)
    assert abs(parts.mutual_information) < 1e-12
    assert abs(parts.total_correlation) < 1e-12
    assert abs(parts.dimension_wise_kl - parts.kl) < 4 * parts.errors[2]
    assert (parts.marginal_kl - gaussian_kl(mean, log_var)[0]).abs().max() < 0.2


def test_posteriors_at_the_prior_have_nothing_at_all():
    parts = aggregate_kl(torch.zeros(20, 3), torch.zeros(20, 3), torch_stream(0, "z"))
    assert torch.stack([*parts[:3], parts.kl]).abs().max() < 1e-12


def test_separate_posteriors_reach_the_ceiling_and_not_more():
    mean = 100.0 * torch.arange(64).view(-1, 1)
    parts = aggregate_kl(mean, torch.zeros(64, 1), torch_stream(0, "z"))
    assert parts.mutual_information.item() == pytest.approx(math.log(64), abs=1e-9)
    assert parts.mutual_information <= parts.ceiling + 1e-9
    assert parts.kl > 100  # the rest is in the marginals


def test_a_correlated_mixture_against_numerical_integration():
    mean = torch.tensor([[-1.5, -1.0], [0.0, 0.3], [1.2, 1.6]], dtype=torch.float64)
    log_var = torch.tensor([[-1.0, -0.5], [-2.0, 0.0], [-0.3, -1.5]], dtype=torch.float64)
    axis = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    density = torch.distributions.Normal(mean, torch.exp(0.5 * log_var))
    marginals = density.log_prob(axis.view(-1, 1, 1)).exp()  # (grid, component, dimension)
    joint = torch.einsum("an,bn->ab", marginals[..., 0], marginals[..., 1]) / 3
    one, two = marginals.mean(1).unbind(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(axis)
    correlation = (joint * (joint / torch.outer(one, two)).log()).sum() * step**2
    dimension_wise = torch.stack([(q * (q.log() - prior)).sum() * step for q in (one, two)])
    entropy = -(joint * joint.log()).sum() * step**2
    conditional = density.entropy().sum(1).mean()

    parts = aggregate_kl(mean, log_var, torch_stream(0, "z"), draws=60_000, chunk=5000)
    expected = torch.stack([entropy - conditional, correlation, dimension_wise.sum()])
    assert ((torch.stack(parts[:3]) - expected).abs() < 4 * parts.errors).all()
    assert parts.errors.max() < 0.01
    assert (parts.marginal_kl - dimension_wise).abs().max() < 0.03
    assert expected[1] > 0.2  # there is something to find


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_the_chunk_changes_nothing(chunk):
    mean, log_var = random_posteriors(n=60)
    one = aggregate_kl(mean, log_var, torch_stream(0, "z"), draws=90, chunk=chunk)
    other = aggregate_kl(mean, log_var, torch_stream(0, "z"), draws=90)
    torch.testing.assert_close(torch.stack(one[:3]), torch.stack(other[:3]), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(one.marginal_kl, other.marginal_kl, rtol=1e-11, atol=1e-11)


def test_draws_are_spread_evenly_over_the_posteriors():
    # Posteriors of almost no width: the draws are the means, and their mean shows which were used.
    mean, log_var = torch.arange(10.0).view(-1, 1), torch.full((10, 1), -30.0)
    parts = aggregate_kl(mean, log_var, torch_stream(0, "z"), draws=20)
    # sum_j KL(q(z_j) || p) = E[log q(z_1)] + E[z^2] / 2 up to constants; E[z^2] = 28.5 only if all count equally.
    expected = (15.0 - 0.5 - math.log(10)) + 28.5 / 2
    assert parts.dimension_wise_kl.item() == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, -60.0), (50.0, -30.0), (0.0, 60.0)])
def test_extreme_posteriors_stay_finite(mean, log_var):
    parts = aggregate_kl(torch.full((8, 2), mean), torch.full((8, 2), log_var), torch_stream(0, "z"))
    assert torch.stack([*parts[:3], parts.kl]).isfinite().all()


def test_bad_arguments_are_named():
    good, generator = torch.zeros(4, 2), torch_stream(0, "z")
    with pytest.raises(DataError, match=r"\(3, 2\)"):
        aggregate_kl(good, torch.zeros(3, 2), generator)
    with pytest.raises(DataError, match="at least 1"):
        aggregate_kl(torch.zeros(0, 2), torch.zeros(0, 2), generator)
    with pytest.raises(DataError, match="finite"):
        aggregate_kl(good, torch.full((4, 2), torch.nan), generator)
    with pytest.raises(ConfigError, match="draws=1"):
        aggregate_kl(good, good, generator, draws=1)
    with pytest.raises(ConfigError, match="chunk=0"):
        aggregate_kl(good, good, generator, chunk=0)
