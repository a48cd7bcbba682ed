"""Samplers: what all of them promise, then the mixture and the flow against known densities."""

import io
import math

import pytest
import torch
from sklearn.datasets import make_moons
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.rng import torch_stream
from lightning_gvae.samplers import SAMPLERS, make_sampler
from lightning_gvae.samplers.flow import CouplingFlow

QUICK = {"prior": {}, "gmm": {"components": 3}, "flow": {"layers": 4, "hidden": 16, "steps": 30}}


def posteriors(n=200, latent=3):
    generator = torch_stream(0, "posteriors")
    return torch.randn(n, latent, generator=generator) * 2 + 1, torch.randn(n, latent, generator=generator) - 2


def quick(name, latent=3, fit=True, seed=0):
    sampler = make_sampler(name, latent, **QUICK[name])
    if fit:
        sampler.fit(*posteriors(latent=latent), seed)
    return sampler


def moons(n, seed):
    return torch.from_numpy(make_moons(n, noise=0.08, random_state=seed)[0]).float()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_samples(name):
    before = torch.random.get_rng_state()
    one = quick(name).sample(7, torch_stream(1, "z"))
    other = quick(name).sample(7, torch_stream(1, "z"))
    assert one.shape == (7, 3) and one.dtype == torch.float32
    assert torch.equal(one, other)
    assert not torch.equal(one, quick(name).sample(7, torch_stream(2, "z")))
    assert torch.equal(before, torch.random.get_rng_state()), "a global generator was used"


@pytest.mark.parametrize("name", ["gmm", "flow"])
def test_another_seed_gives_another_fit(name):
    assert not torch.equal(
        quick(name).sample(7, torch_stream(1, "z")), quick(name, seed=1).sample(7, torch_stream(1, "z"))
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_from_disk_gives_the_same_samples(name):
    sampler, buffer = quick(name), io.BytesIO()
    torch.save(sampler.state_dict(), buffer)
    buffer.seek(0)
    other = quick(name, fit=False)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(sampler.sample(9, torch_stream(1, "z")), other.sample(9, torch_stream(1, "z")))
    latents = posteriors()[0]
    torch.testing.assert_close(sampler.log_prob(latents), other.log_prob(latents))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_of_other_settings_is_refused(name):
    settings = {"gmm": {"components": 4}, "flow": {"layers": 2, "hidden": 16}}
    state = quick("prior" if name == "gmm" else "gmm").state_dict()
    with pytest.raises(CheckpointError, match="does not belong to this"):
        quick(name, fit=False).load_state_dict(state)
    if name in settings:
        with pytest.raises(CheckpointError, match="settings"):
            make_sampler(name, 3, **settings[name]).load_state_dict(quick(name).state_dict())


@pytest.mark.parametrize("name", SAMPLERS)
def test_it_fits_under_inference_mode_and_half_precision(name):
    with torch.inference_mode():
        means, log_vars = posteriors()
        sampler = make_sampler(name, 3, **QUICK[name])
        sampler.fit(means.bfloat16(), log_vars.bfloat16(), 0)
    assert sampler.sample(4, torch_stream(0, "z")).isfinite().all()


@pytest.mark.parametrize("name", ["gmm", "flow"])
def test_the_moments_of_the_samples_are_those_of_the_aggregate(name):
    means, log_vars = posteriors(2000)
    sampler = make_sampler(name, 3, **(QUICK[name] | ({"steps": 200} if name == "flow" else {})))
    sampler.fit(means, log_vars, 0)
    samples = sampler.sample(20_000, torch_stream(1, "z"))
    deviation = (means.var(0) + log_vars.exp().mean(0)).sqrt()
    assert (samples.mean(0) - means.mean(0)).abs().max() < 0.15
    assert (samples.std(0) / deviation - 1).abs().max() < 0.06


@pytest.mark.parametrize("name", ["gmm", "flow"])
def test_a_deterministic_encoder_is_fitted_by_its_codes(name):
    codes = moons(300, 0)
    with_means = make_sampler(name, 2, **QUICK[name])
    with_means.fit(codes, None, 0)
    assert with_means.log_prob(codes).mean() > -3


@pytest.mark.parametrize("name", SAMPLERS)
def test_bad_input_is_named(name):
    means, log_vars = posteriors()
    sampler = quick(name, fit=False)
    with pytest.raises(DataError, match=r"\(N, 3\)"):
        sampler.fit(means[:, :2], log_vars[:, :2], 0)
    with pytest.raises(DataError, match="`log_vars` must be"):
        sampler.fit(means, log_vars[:5], 0)
    with pytest.raises(DataError, match="`means` must be"):
        sampler.fit(means[:0], log_vars[:0], 0)
    for values in ((means * torch.nan, log_vars), (means, log_vars / 0)):
        with pytest.raises(DataError, match="must be finite"):
            sampler.fit(*values, 0)
    sampler.fit(means, log_vars, 0)
    for n in (0, -1):
        with pytest.raises(ConfigError, match="at least 1 sample"):
            sampler.sample(n, torch_stream(0, "z"))
    with pytest.raises(DataError, match="`latents` must be"):
        sampler.log_prob(means[:, :2])


@pytest.mark.parametrize("name", ["gmm", "flow"])
def test_an_unfitted_sampler_says_so(name):
    sampler = quick(name, fit=False)
    for use in (
        lambda: sampler.sample(3, torch_stream(0, "z")),
        lambda: sampler.log_prob(torch.zeros(1, 3)),
        sampler.state_dict,
    ):
        with pytest.raises(ConfigError, match="was not fitted"):
            use()


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="one of prior, gmm, flow, got 'vamp'"):
        make_sampler("vamp", 3)
    with pytest.raises(ConfigError, match="no setting components; it knows batch_size, hidden"):
        make_sampler("flow", 3, components=3)
    with pytest.raises(ConfigError, match="it knows none"):
        make_sampler("prior", 3, components=3)
    with pytest.raises(ConfigError, match="`latent_dim`"):
        make_sampler("prior", 0)
    with pytest.raises(ConfigError, match="components=0"):
        make_sampler("gmm", 3, components=0)
    with pytest.raises(ConfigError, match="`layers` must be at least 1"):
        make_sampler("flow", 3, layers=0)
    with pytest.raises(ConfigError, match="`lr` must be positive"):
        make_sampler("flow", 3, lr=0)
    with pytest.raises(ConfigError, match="components=10 for 5 images"):
        make_sampler("gmm", 3).fit(torch.zeros(5, 3), None, 0)
    with pytest.raises(ConfigError, match="at least 2 images"):
        make_sampler("flow", 3).fit(torch.zeros(1, 3), None, 0)


def test_the_prior_is_the_standard_normal():
    sampler = make_sampler("prior", 4)
    samples = sampler.sample(20_000, torch_stream(0, "z"))
    assert samples.mean(0).abs().max() < 0.03
    assert (samples.std(0) - 1).abs().max() < 0.03
    expected = MultivariateNormal(torch.zeros(4), torch.eye(4)).log_prob(samples)
    torch.testing.assert_close(sampler.log_prob(samples), expected)


def test_the_mixture_recovers_a_known_mixture():
    weights = torch.tensor([0.5, 0.3, 0.2])
    means = torch.tensor([[0.0, 0.0], [3.0, 3.0], [-3.0, 2.0]])
    factors = torch.tensor([[[0.8, 0.0], [0.4, 0.3]], [[0.3, 0.0], [0.0, 0.9]], [[0.5, 0.0], [-0.3, 0.4]]])
    truth = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, scale_tril=factors))

    def draw(n, tag):
        generator = torch_stream(0, tag)
        which = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, 2, 1, generator=generator)
        return means[which] + (factors[which] @ noise).squeeze(2)

    sampler = make_sampler("gmm", 2, components=3)
    # Posteriors of variance 1/16 around shrunken means would blur the truth: codes without noise.
    sampler.fit(draw(4000, "train"), None, 0)
    held_out = draw(4000, "test")
    gap = truth.log_prob(held_out).mean() - sampler.log_prob(held_out).mean()
    assert abs(gap) < 0.01
    found = sampler.state_dict()
    assert found["weights"].sort().values.tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.03)
    samples = sampler.sample(4000, torch_stream(1, "z"))
    assert truth.log_prob(samples).mean() == pytest.approx(truth.log_prob(held_out).mean().item(), abs=0.1)


def test_the_mixture_is_fitted_to_draws_and_not_to_means():
    means = torch.zeros(3000, 2)
    sampler = make_sampler("gmm", 2, components=1)
    sampler.fit(means, torch.full_like(means, math.log(4.0)), 0)
    factor = sampler.state_dict()["cholesky"][0]
    torch.testing.assert_close(factor @ factor.T, 4 * torch.eye(2, dtype=torch.float64), atol=0.3, rtol=0)


def rough_flow(dim, layers=5):
    flow = CouplingFlow(dim, layers, 16, torch_stream(0, "flow"))
    generator = torch_stream(1, "flow")
    for parameter in flow.parameters():
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    flow.location.copy_(torch.arange(dim) - 1.0)
    flow.scale.copy_(0.5 + torch.arange(dim))
    return flow.double().requires_grad_(False)


@pytest.mark.parametrize("dim", [1, 2, 5, 8])
def test_the_flow_inverts_itself(dim):
    flow = rough_flow(dim)
    latents = 2 * torch.randn(50, dim, generator=torch_stream(0, "z"), dtype=torch.float64)
    noise, _ = flow(latents)
    torch.testing.assert_close(flow.inverse(noise), latents, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flow(flow.inverse(latents))[0], latents, rtol=1e-9, atol=1e-9)


def test_the_log_determinant_is_that_of_the_jacobian():
    flow = rough_flow(4)
    latents = torch.randn(6, 4, generator=torch_stream(0, "z"), dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: flow(row[None])[0][0]))(latents)
    torch.testing.assert_close(flow(latents)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_every_dimension_is_changed_given_two_couplings():
    for dim in (2, 3, 7):
        masks = CouplingFlow(dim, 6, 8, torch_stream(0, "flow")).masks
        for first, second in zip(masks[::2], masks[1::2], strict=True):
            assert torch.equal(first + second, torch.ones(dim))
            assert 0 < first.sum() < dim


@pytest.mark.parametrize("dim", [1, 2])
def test_the_density_of_the_flow_integrates_to_one(dim):
    sampler = make_sampler("flow", dim, layers=4, hidden=16, steps=100)
    sampler.fit(moons(500, 0)[:, :dim], None, 0)
    axis = torch.linspace(-6, 6, 1201)
    grid = axis.view(-1, 1) if dim == 1 else torch.cartesian_prod(axis[::2], axis[::2])
    step = (0.01 if dim == 1 else 0.02) ** dim
    assert (sampler.log_prob(grid).double().exp().sum() * step).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_the_flow_beats_a_gaussian_on_two_moons(seed):
    train, held_out = moons(2000, seed), moons(2000, seed + 100)
    sampler = make_sampler("flow", 2, steps=400, lr=0.01)
    sampler.fit(train, None, seed)
    gaussian = MultivariateNormal(train.mean(0), train.T.cov())
    assert sampler.log_prob(held_out).mean() > gaussian.log_prob(held_out).mean() + 0.7
