"""The FactorVAE score: perfect, blind and rotated codes, a naive second implementation, and what is encoded."""

import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.factor_grid import draw_codes, encode_once
from lightning_gvae.metrics.disentanglement.factor_vae_score import factor_vae_score
from tests.metrics.factor_codes import SIZES, axis_aligned, factors, hashed, rotation

FEW = {"train": 400, "test": 300, "variance_samples": 1000}


def aligned(classes):
    return axis_aligned(classes)


def noisy(classes):
    return axis_aligned(classes) @ rotation(5) + 0.5 * hashed(classes, 5)


def naive(encode, sizes, seed, votes=1500):
    """One batch after the other with NumPy's old generator; a dictionary of counts as the classifier."""
    random = np.random.RandomState(seed)
    spread = np.std(encode(np.stack([random.randint(n, size=4000) for n in sizes], 1)), axis=0, ddof=1)

    def vote():
        k = random.randint(len(sizes))
        batch = np.stack([random.randint(n, size=64) for n in sizes], 1)
        batch[:, k] = random.randint(sizes[k])
        ratios = {j: (np.std(z, ddof=1) / spread[j]) ** 2 for j, z in enumerate(encode(batch).T) if spread[j] >= 0.05}
        return min(ratios, key=ratios.__getitem__), k

    seen = [vote() for _ in range(votes)]
    best = {j: max(range(len(sizes)), key=lambda k, j=j: seen.count((j, k))) for j in {j for j, _ in seen}}
    tests = [vote() for _ in range(votes)]
    return np.mean([best.get(j, 0) == k for j, k in tests])


def test_a_perfect_code_scores_one():
    result = factor_vae_score(aligned, SIZES, seed=0, **FEW)
    assert result.score == result.train_accuracy == 1
    assert result.active == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(result.votes, np.diag(np.diag(result.votes)))
    assert result.votes.sum() == FEW["train"]


def test_agrees_with_a_naive_implementation():
    own = factor_vae_score(noisy, SIZES, seed=0, train=1500, test=1500, variance_samples=4000).score
    assert 0.3 < own < 0.9
    assert own == pytest.approx(naive(noisy, SIZES, 0), abs=0.05)


def test_draws_from_a_pool_agree_with_draws_from_all():
    encoded = []

    def counted(classes):
        encoded.append(len(classes))
        return noisy(classes)

    many = {"train": 3000, "test": 3000, "variance_samples": 4000}
    whole = [factor_vae_score(noisy, SIZES, seed=seed, **many).score for seed in range(4)]
    pooled = [factor_vae_score(counted, SIZES, seed=seed, pool=40_000, **many).score for seed in range(4)]
    assert sum(encoded) == 4 * 40_000
    # The binomial deviation of 3000 test votes is 0.009.
    assert np.mean(pooled) == pytest.approx(np.mean(whole), abs=0.015)
    assert factor_vae_score(aligned, SIZES, seed=0, pool=5000, **FEW).score == 1


def test_a_pool_must_know_every_value_often():
    with pytest.raises(ConfigError, match="`pool` must hold 64 images for each of 40 values, 2560 in all, got 100"):
        factor_vae_score(aligned, SIZES, seed=0, pool=100, **FEW)


def test_a_blind_code_scores_chance():
    score = factor_vae_score(lambda classes: hashed(classes, 5), SIZES, seed=0, **FEW).score
    assert score == pytest.approx(0.2, abs=0.1)


def test_order_sign_and_scale_do_not_matter():
    scales = np.array([1, -2, 0.5, 3, 10])
    score = factor_vae_score(noisy, SIZES, seed=0, **FEW).score
    assert factor_vae_score(lambda c: noisy(c)[:, ::-1], SIZES, seed=0, **FEW).score == pytest.approx(score, abs=1e-9)
    assert factor_vae_score(lambda c: noisy(c) * scales + 1, SIZES, seed=0, **FEW).score == pytest.approx(
        score, abs=1e-9
    )


def test_a_rotated_code_scores_less():
    def rotated(classes):
        return axis_aligned(classes) @ rotation(5)

    assert factor_vae_score(rotated, SIZES, seed=0, **FEW).score < 0.9


@pytest.mark.parametrize("scale", [0.0, 1e-3])
def test_without_an_active_latent_the_score_is_zero(scale):
    result = factor_vae_score(lambda classes: scale * axis_aligned(classes), SIZES, seed=0, **FEW)
    assert (result.score, result.active) == (0.0, ())


def test_inactive_and_constant_latents_take_no_part():
    def encode(classes):
        return np.concatenate([axis_aligned(classes), 0.01 * hashed(classes, 1), np.ones((len(classes), 1))], 1)

    assert factor_vae_score(encode, SIZES, seed=0, **FEW).active == (0, 1, 2, 3, 4)
    # A constant latent has no ratio of variances, whatever the threshold.
    assert factor_vae_score(encode, SIZES, seed=0, threshold=0.0, **FEW).active == (0, 1, 2, 3, 4, 5)


def test_every_image_is_encoded_once_in_chunks():
    calls = []

    def encode(classes):
        calls.append(classes)
        return torch.from_numpy(axis_aligned(classes, sizes=(3, 4))).float().requires_grad_()

    factor_vae_score(encode, (3, 4), seed=0, encode_batch=5, **FEW)
    assert [len(call) for call in calls] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(calls), np.argwhere(np.ones((3, 4))))


def test_the_size_of_the_chunks_does_not_matter():
    one, other = (factor_vae_score(noisy, SIZES, seed=0, encode_batch=size, **FEW) for size in (1000, 64))
    assert one.score == other.score
    assert factor_vae_score(noisy, SIZES, seed=1, **FEW).score != one.score


def test_drawn_codes_are_those_of_their_factors():
    codes, classes = draw_codes(aligned, SIZES, 500, seed=0)
    np.testing.assert_array_equal(codes, aligned(classes))
    assert all(len(np.unique(column)) == size for column, size in zip(classes.T, SIZES, strict=True))
    table, rows = encode_once(aligned, factors(60).reshape(3, 4, 5, 5), SIZES)
    np.testing.assert_array_equal(table[rows], aligned(factors(60)).reshape(3, 4, 5, 5))


@pytest.mark.parametrize(
    ("sizes", "images"), [((2,) * 40, None), ((2,) * 40, 202_599), ((2, 2, 2), 1000)], ids=["celeba", "counted", "few"]
)
def test_sets_that_are_no_grid_are_refused(sizes, images):
    with pytest.raises(ConfigError, match=f"each of the {2 ** len(sizes)} combinations of its {len(sizes)} factors"):
        factor_vae_score(aligned, sizes, seed=0, num_images=images)


def test_errors_name_the_value():
    with pytest.raises(ConfigError, match="no `factor_sizes`"):
        factor_vae_score(aligned, (), seed=0)
    with pytest.raises(ConfigError, match="`factor_sizes`.*at least 2, got 1"):
        factor_vae_score(aligned, (3, 1), seed=0)
    with pytest.raises(ConfigError, match="`batch`.*at least 2, got 1"):
        factor_vae_score(aligned, SIZES, seed=0, batch=1)
    with pytest.raises(ConfigError, match="`threshold`.*nan"):
        factor_vae_score(aligned, SIZES, seed=0, threshold=float("nan"))
    with pytest.raises(DataError, match="nan in latent 0"):
        factor_vae_score(lambda classes: aligned(classes) * np.nan, SIZES, seed=0, **FEW)
    with pytest.raises(DataError, match=r"for 4096 images, got shape \(5, 4096\)"):
        factor_vae_score(lambda classes: aligned(classes).T, SIZES, seed=0, **FEW)
