"""The gap of the aggregate posterior against closed forms, quadrature and a double loop over samples and images."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.mig_chen import DSPRITES_FACTORS, aggregate_entropies, mig_chen
from lightning_gvae.rng import torch_stream

SIZES = (2, 3, 4)


@pytest.fixture
def grid():
    return np.stack(np.meshgrid(*(np.arange(n) for n in SIZES), indexing="ij"), -1).reshape(-1, len(SIZES))


def posteriors(grid, log_var, latents=4):
    means = torch.zeros(len(grid), latents)
    means[:, : grid.shape[1]] = torch.from_numpy(grid).float()
    return means, torch.full_like(means, log_var)


def test_narrow_posteriors_around_the_factors_know_them_exactly(grid):
    # The error of an entropy is 0.7 / sqrt(samples) nats, that of a Gaussian's own logarithm.
    result = mig_chen(*posteriors(grid, -16.0), grid, seed=0, use=None, samples=20_000)
    assert result.score == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(result.entropies, np.log(SIZES))
    np.testing.assert_allclose(np.diag(result.information), np.log(SIZES), atol=0.02)
    assert result.information[3].max() < 0.02


def test_posteriors_equal_to_the_prior_know_nothing(grid):
    means = torch.zeros(len(grid), 3)
    result = mig_chen(means, means, grid, seed=0, use=None, samples=4000)
    assert result.information.max() < 0.03
    assert result.score < 0.02


@pytest.mark.parametrize("half", [0.5, 1.0, 2.0])
def test_a_factor_of_two_values_is_a_channel_with_gaussian_noise(half):
    """Means at -half and half with unit variance; the entropy of the mixture by quadrature."""
    means = torch.tensor([[-half, 0.0], [half, 0.0]]).repeat(50, 1)
    classes = np.tile([[0], [1]], (50, 1))

    def integrand(z):
        density = 0.5 * (norm.pdf(z, -half) + norm.pdf(z, half))
        return -density * math.log(density)

    known = quad(integrand, -12, 12)[0] - 0.5 * math.log(2 * math.pi * math.e)
    result = mig_chen(means, torch.zeros_like(means), classes, seed=0, use=None, samples=40_000)
    assert result.information[0, 0] == pytest.approx(known, abs=0.01)
    assert result.gaps[0] == pytest.approx(known / math.log(2), abs=0.02)


def test_agrees_with_a_double_loop_over_samples_and_images():
    generator = torch_stream(1, "posteriors")
    means = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    log_vars = torch.randn(30, 3, generator=generator, dtype=torch.float64) - 1
    stream = torch_stream(0, "test")
    images = torch.randperm(30, generator=stream).repeat(2)[:47].tolist()
    noise = torch.randn(47, 3, generator=stream, dtype=torch.float64).tolist()
    expected = []
    for j in range(3):
        total = 0.0
        for image, draws in zip(images, noise, strict=True):
            z = means[image, j].item() + draws[j] * math.exp(log_vars[image, j].item() / 2)
            deviations = [math.exp(value / 2) for value in log_vars[:, j].tolist()]
            total -= math.log(np.mean(norm.pdf(z, means[:, j].numpy(), deviations)))
        expected.append(total / 47)
    got = aggregate_entropies(means, log_vars, 47, torch_stream(0, "test"))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("max_elements", [1, 7, 24, 100, 2**20])
def test_the_size_of_the_chunks_does_not_matter(grid, max_elements):
    means, log_vars = posteriors(grid, -2.0)
    one = mig_chen(means.double(), log_vars.double(), grid, seed=0, use=None, samples=50)
    other = mig_chen(means.double(), log_vars.double(), grid, seed=0, use=None, samples=50, max_elements=max_elements)
    np.testing.assert_allclose(other.information, one.information, atol=1e-12)


def test_chunks_bound_the_memory(grid, monkeypatch):
    sizes = []
    original = torch.Tensor.logsumexp
    monkeypatch.setattr(torch.Tensor, "logsumexp", lambda self, dim: sizes.append(self.numel()) or original(self, dim))
    mig_chen(*posteriors(grid, -2.0), grid, seed=0, use=None, samples=50, max_elements=60)
    assert max(sizes) <= 60


def test_latents_and_samples_are_not_mixed_up(grid):
    """As many latents as samples invites a view of (S, L) as (L, S); latents of unlike spread would then blur."""
    means, log_vars = posteriors(grid, -16.0, latents=5)
    means[:, 4] = 100.0
    entropy = aggregate_entropies(means, log_vars, 5, torch_stream(0, "test"))
    narrow = 0.5 * math.log(2 * math.pi * math.e) - 8
    assert entropy[3].item() == pytest.approx(narrow, abs=1)
    assert entropy[4].item() == pytest.approx(narrow, abs=1)
    # Log densities of a value of one latent under another's posteriors would be astronomically low.
    assert entropy.max().item() < 10


def test_few_images_are_sampled_again(grid):
    means, log_vars = posteriors(grid, 0.0)
    coarse, fine = (
        aggregate_entropies(means, log_vars, samples, torch_stream(0, "test")) for samples in (24, 24 * 500)
    )
    assert (coarse - fine).abs().max() < 0.5
    single = aggregate_entropies(means[:1], log_vars[:1], 20_000, torch_stream(0, "test"))
    np.testing.assert_allclose(single.numpy(), 0.5 * math.log(2 * math.pi * math.e), atol=0.02)


def test_permuted_images_and_latents_give_the_same_score_up_to_sampling(grid):
    means, log_vars = posteriors(grid, -3.0)
    score = mig_chen(means, log_vars, grid, seed=0, use=None, samples=3000).score
    order = torch.randperm(len(grid), generator=torch_stream(0, "order"))
    shuffled = mig_chen(means[order], log_vars[order], grid[order], seed=0, use=None, samples=3000).score
    swapped = mig_chen(means.flip(1), log_vars, grid, seed=0, use=None, samples=3000).score
    assert shuffled == pytest.approx(score, abs=0.03)
    assert swapped == pytest.approx(score, abs=0.03)


def test_a_rotated_code_scores_less(grid):
    means, log_vars = posteriors(grid, -6.0)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch_stream(0, "turn")))[0]
    straight = mig_chen(means, log_vars, grid, seed=0, use=None, samples=2000).score
    assert mig_chen(means @ turn, log_vars, grid, seed=0, use=None, samples=2000).score < 0.6 * straight


def test_the_shape_of_dsprites_is_left_out_by_default(grid):
    five = np.concatenate([grid, grid[:, :2]], axis=1)
    means, log_vars = posteriors(five, -16.0, latents=6)
    result = mig_chen(means, log_vars, five, seed=0, samples=500)
    assert DSPRITES_FACTORS == (1, 2, 3, 4)
    np.testing.assert_allclose(result.entropies, np.log([3, 4, 2, 3]))


def test_the_same_seed_gives_the_same_score_and_no_global_state_moves(grid):
    before = torch.get_rng_state()
    scores = [mig_chen(*posteriors(grid, -2.0), grid, seed=seed, use=None, samples=40).score for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_score(grid):
    means, log_vars = posteriors(grid, -2.0)
    one = mig_chen(means, log_vars, grid, seed=0, use=None, samples=500)
    other = mig_chen(means.cuda(), log_vars.cuda(), grid, seed=0, use=None, samples=500)
    np.testing.assert_allclose(other.information, one.information, atol=1e-4)


def test_errors_name_the_value(grid):
    means, log_vars = posteriors(grid, 0.0)
    with pytest.raises(ConfigError, match=r"among 0..2, got \(1, 2, 3, 4\)"):
        mig_chen(means, log_vars, grid, seed=0)
    with pytest.raises(ConfigError, match="`samples`.*got 0"):
        mig_chen(means, log_vars, grid, seed=0, use=None, samples=0)
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        mig_chen(means[:, :1], log_vars[:, :1], grid, seed=0, use=None)
    with pytest.raises(DataError, match=r"\(24, 4\) and \(24, 3\)"):
        mig_chen(means, log_vars[:, :3], grid, seed=0, use=None)
    with pytest.raises(DataError, match="`log_vars` must be finite, got 96"):
        mig_chen(means, log_vars * math.nan, grid, seed=0, use=None)
    with pytest.raises(DataError, match="factor 2 has the value 9 in all 24"):
        mig_chen(means, log_vars, np.where([False, False, True], 9, grid), seed=0, use=(0, 2))
