"""The beta-VAE score: perfect and blind codes, invariances, and features built pair by pair."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.beta_vae_score import beta_vae_score
from tests.metrics.factor_codes import SIZES, axis_aligned, hashed, rotation

FEW = {"train": 600, "test": 400, "batch": 16}


def aligned(classes):
    return axis_aligned(classes)


def blurred(classes):
    return 0.3 * axis_aligned(classes) @ rotation(5) + hashed(classes, 5)


def naive(encode, sizes, points=600):
    """Pair by pair, with NumPy's old generator and the points in one list."""
    random = np.random.RandomState(0)

    def point():
        k = random.randint(len(sizes))
        pairs = []
        for _ in range(16):
            first, second = ([random.randint(n) for n in sizes] for _ in range(2))
            second[k] = first[k]
            pairs += [first, second]
        codes = iter(encode(np.array(pairs)))
        return np.mean([abs(one - other) for one, other in zip(codes, codes, strict=True)], axis=0), k

    (features, labels), (tests, answers) = (zip(*(point() for _ in range(points)), strict=True) for _ in range(2))
    return LogisticRegression(max_iter=1000).fit(features, labels).score(tests, answers)


def test_a_perfect_code_scores_one():
    assert beta_vae_score(aligned, SIZES, seed=0, **FEW) == 1


def test_agrees_with_a_naive_implementation():
    own = beta_vae_score(blurred, SIZES, seed=0, batch=16, train=600, test=600)
    assert 0.25 < own < 0.95
    assert own == pytest.approx(naive(blurred, SIZES), abs=0.06)


def test_a_blind_code_scores_chance():
    assert beta_vae_score(lambda c: hashed(c, 5), SIZES, seed=0, **FEW) == pytest.approx(0.2, abs=0.07)
    assert beta_vae_score(lambda c: np.zeros((len(c), 3)), SIZES, seed=0, **FEW) < 0.3


def test_order_and_sign_do_not_matter():
    score = beta_vae_score(blurred, SIZES, seed=0, **FEW)
    assert beta_vae_score(lambda c: -blurred(c)[:, ::-1] + 2, SIZES, seed=0, **FEW) == pytest.approx(score, abs=0.01)


def test_the_seed_and_not_the_chunks_decide():
    one, other = (beta_vae_score(blurred, SIZES, seed=0, encode_batch=size, **FEW) for size in (7000, 100))
    assert one == other
    assert beta_vae_score(blurred, SIZES, seed=1, **FEW) != one


def test_errors_name_the_value():
    with pytest.raises(ConfigError, match="combinations of its 40 factors once, got 202599 images"):
        beta_vae_score(aligned, (2,) * 40, seed=0, num_images=202_599)
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        beta_vae_score(aligned, (4,), seed=0)
    with pytest.raises(ConfigError, match="`train`.*at least 50, got 20"):
        beta_vae_score(aligned, SIZES, seed=0, train=20)
    with pytest.raises(DataError, match="nan in latent 0"):
        beta_vae_score(lambda classes: aligned(classes) * np.nan, SIZES, seed=0, **FEW)
