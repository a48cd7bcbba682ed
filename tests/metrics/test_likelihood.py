"""Importance-sampled likelihood against linear-Gaussian models, the ELBO and itself."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from lightning_gvae.errors import ConfigError, DataError, NonFiniteError
from lightning_gvae.losses.elbo import LIKELIHOODS, build_likelihood, gaussian_kl
from lightning_gvae.metrics.likelihood import bits_per_dim, iwae_nll
from lightning_gvae.rng import torch_stream

SIGMA = 0.5


class LinearGaussian:
    """x = W z + b + SIGMA * noise, in fp64; its marginal and its posteriors are known."""

    def __init__(self, orthogonal, dims=6, latent=2, images=20):
        generator = torch_stream(0, "linear")
        weight = torch.randn(dims, latent, generator=generator, dtype=torch.float64)
        mixing = [[1.5, 0.0], [0.0, 0.7]] if orthogonal else [[0.8, 0.6], [0.0, 0.5]]
        self.weight = torch.linalg.qr(weight).Q @ torch.tensor(mixing, dtype=torch.float64)
        self.bias = torch.randn(dims, generator=generator, dtype=torch.float64)
        covariance = self.weight @ self.weight.T + SIGMA**2 * torch.eye(dims)
        self.marginal = MultivariateNormal(self.bias, covariance)
        noise = torch.randn(images, dims, generator=generator, dtype=torch.float64)
        self.images = (self.bias + noise @ self.marginal.scale_tril.T).view(images, 1, 2, dims // 2)
        self.nll = -self.marginal.log_prob(self.images.flatten(1))
        precision = torch.eye(latent) + self.weight.T @ self.weight / SIGMA**2
        self.mean = (self.images.flatten(1) - self.bias) @ self.weight @ torch.linalg.inv(precision) / SIGMA**2
        # KL from the diagonal posterior to the true one, what the ELBO misses.
        self.gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
        # The best diagonal Gaussian; the true posterior where the columns of W are orthogonal.
        self.log_var = -precision.diagonal().log().expand_as(self.mean)

    def log_px(self, images, latents):
        error = (images.flatten(1) - latents @ self.weight.T - self.bias) / SIGMA
        return -(0.5 * error.square() + math.log(SIGMA) + 0.5 * math.log(2 * math.pi)).sum(1)

    def nll_by(self, k, seed=0, chunk=50):
        return iwae_nll(self.images, self.mean, self.log_var, self.log_px, k, torch_stream(seed, "z"), chunk)


@pytest.mark.parametrize("k", [1, 7])
def test_with_the_true_posterior_every_draw_is_exact(k):
    model = LinearGaussian(orthogonal=True)
    torch.testing.assert_close(model.nll_by(k), model.nll)


def test_with_a_diagonal_posterior_many_draws_reach_the_closed_form():
    model = LinearGaussian(orthogonal=False)
    nll = model.nll_by(20_000, chunk=1000)
    assert (nll - model.nll).abs().max() < 0.03
    assert model.gap > 0.15  # what had to be closed


def test_one_draw_is_the_negative_elbo_in_expectation():
    model = LinearGaussian(orthogonal=False)
    values = torch.stack([model.nll_by(1, seed).mean() for seed in range(400)])
    noise = torch.randn(4000, *model.mean.shape, generator=torch_stream(1, "elbo"), dtype=torch.float64)
    latents = (model.mean + torch.exp(0.5 * model.log_var) * noise).flatten(0, 1)
    repeated = model.images.expand(4000, *model.images.shape).flatten(0, 1)
    recon = -model.log_px(repeated, latents).view(4000, -1).mean(1)
    elbo = -(recon.mean() + gaussian_kl(model.mean, model.log_var).sum(1).mean())
    error = math.hypot(values.std().item() / 20, recon.std().item() / math.sqrt(4000))
    assert abs(values.mean() + elbo) < 4 * error
    assert abs(values.mean() - model.nll.mean() - model.gap) < 4 * values.std() / 20
    assert error < 0.01


def test_more_draws_never_raise_the_bound_beyond_error():
    model, seeds = LinearGaussian(orthogonal=False, images=100), 60
    means = torch.stack([torch.stack([model.nll_by(k, seed).mean() for seed in range(seeds)]) for k in (1, 4, 16, 64)])
    steps = means[1:] - means[:-1]
    errors = torch.sqrt(means[1:].var(1) + means[:-1].var(1)) / math.sqrt(seeds)
    assert (steps.mean(1) < 3 * errors).all()
    assert steps.mean(1)[0] < -5 * errors[0]
    assert (means.mean(1) - model.nll.mean() > -4 * means.std(1) / math.sqrt(seeds)).all()


@pytest.mark.parametrize("chunk", [1, 3, 16, 100])
def test_the_chunk_changes_nothing(chunk):
    model = LinearGaussian(orthogonal=False)
    torch.testing.assert_close(model.nll_by(20, chunk=chunk), model.nll_by(20, chunk=20), rtol=1e-12, atol=1e-12)


def test_no_more_than_a_chunk_is_decoded_at_once():
    model = LinearGaussian(orthogonal=False)
    rows = []

    def log_px(images, latents):
        rows.append(len(latents))
        return model.log_px(images, latents)

    iwae_nll(model.images, model.mean, model.log_var, log_px, 10, torch_stream(0, "z"), chunk=4)
    assert rows == [80, 80, 40]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_of_the_package_fits_in(name):
    likelihood = build_likelihood(name).eval()
    weight = torch.randn(3, 16, generator=torch_stream(0, "weight"))
    images = (torch.rand(5, 1, 4, 4, generator=torch_stream(0, "images")) > 0.5).float()
    mean, log_var = torch.zeros(5, 3), torch.zeros(5, 3)

    def log_px(x, z):
        return -likelihood((z @ weight).view(-1, 1, 4, 4), x)

    nll = iwae_nll(images, mean, log_var, log_px, 200, torch_stream(0, "z"))
    # With q = p the sum is plain Monte Carlo over the prior.
    generator = torch_stream(0, "z")
    latents = torch.stack([torch.randn(5, 3, generator=generator) for _ in range(200)])
    with torch.no_grad():
        expected = torch.stack([log_px(images, z) for z in latents]).double().logsumexp(0) - math.log(200)
    torch.testing.assert_close(nll, -expected, rtol=1e-5, atol=1e-4)
    assert nll.dtype == torch.float64 and not nll.requires_grad


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, -80.0), (0.0, 120.0), (1e6, 0.0), (30.0, -20.0)])
def test_extreme_posteriors_stay_finite(mean, log_var):
    images = torch.zeros(2, 1, 2, 2)
    posterior = torch.full((2, 3), mean), torch.full((2, 3), log_var)
    nll = iwae_nll(images, *posterior, lambda x, z: torch.full((len(z),), -1e8), 8, torch_stream(0, "z"), chunk=3)
    assert nll.isfinite().all()
    assert (nll > 0.99e8).all()


def test_an_impossible_image_has_infinite_nll_and_nan_is_an_error():
    images, posterior = torch.zeros(2, 1, 2, 2), torch.zeros(2, 3)
    arguments = (images, posterior, posterior)
    nll = iwae_nll(*arguments, lambda x, z: torch.full((len(z),), -torch.inf), 8, torch_stream(0, "z"), chunk=3)
    assert (nll == torch.inf).all()
    with pytest.raises(NonFiniteError, match="NaN for 2 of 2 images"):
        iwae_nll(*arguments, lambda x, z: torch.full((len(z),), torch.nan), 8, torch_stream(0, "z"))


def test_bad_arguments_are_named():
    images, posterior = torch.zeros(2, 1, 2, 2), torch.zeros(2, 3)

    def call(mean=posterior, log_var=posterior, log_px=lambda x, z: z.sum(1), k=2, chunk=2):
        return iwae_nll(images, mean, log_var, log_px, k, torch_stream(0, "z"), chunk)

    with pytest.raises(ConfigError, match="k=0"):
        call(k=0)
    with pytest.raises(ConfigError, match="chunk=0"):
        call(chunk=0)
    with pytest.raises(DataError, match="one row an image"):
        call(mean=torch.zeros(3, 3), log_var=torch.zeros(3, 3))
    with pytest.raises(DataError, match="must be finite"):
        call(mean=torch.full((2, 3), torch.nan))
    with pytest.raises(DataError, match=r"one number a row, \(4,\), got \(4, 3\)"):
        call(log_px=lambda x, z: z)


def test_bits_per_dim():
    # A uniform distribution over 8-bit pixels has 8 bits a pixel, as a mass and as a density on [0, 1].
    mass, density = torch.tensor(10 * math.log(256)), torch.tensor(0.0)
    assert bits_per_dim(mass, 10).item() == pytest.approx(8)
    assert bits_per_dim(density, 10, levels=256).item() == pytest.approx(8)
    assert bits_per_dim(torch.tensor([-10 * math.log(2), 0.0]), 10).tolist() == pytest.approx([-1, 0])
    with pytest.raises(ConfigError, match="`dims`"):
        bits_per_dim(mass, 0)
    with pytest.raises(ConfigError, match="`levels`"):
        bits_per_dim(mass, 10, levels=1)
