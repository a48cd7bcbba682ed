"""The mutual information gap: ceilings, invariances, and a naive count as a second implementation."""

import math
from collections import Counter

import numpy as np
import pytest

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.mig import mig
from lightning_gvae.rng import numpy_stream
from tests.metrics.factor_codes import SIZES, axis_aligned, factors, hashed, rotation


def naive(codes, classes, bins=20):
    """Straight from the definition, as differences of entropies of counted tuples."""

    def entropy(labels):
        total = len(labels)
        return sum(n / total * math.log(total / n) for n in Counter(labels).values())

    gaps = []
    for k in range(classes.shape[1]):
        known = []
        for j in range(codes.shape[1]):
            low, high = min(codes[:, j]), max(codes[:, j])
            cells = [min(bins - 1, math.floor((z - low) / (high - low) * bins)) for z in codes[:, j]]
            labels = classes[:, k].tolist()
            known.append(entropy(cells) + entropy(labels) - entropy(list(zip(cells, labels, strict=True))))
        first, second = sorted(known, reverse=True)[:2]
        gaps.append((first - second) / entropy(classes[:, k].tolist()))
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_agrees_with_a_naive_count(noise):
    classes = factors(600)
    codes = axis_aligned(classes, noise, latents=7)
    assert mig(codes, classes).score == pytest.approx(naive(codes, classes), abs=1e-12)


def test_a_perfect_code_of_few_values_scores_one():
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (2, 3, 5)), indexing="ij"), -1).reshape(-1, 3)
    result = mig(grid, grid)
    assert result.score == 1
    np.testing.assert_allclose(np.diag(result.information), result.entropies)
    np.testing.assert_allclose(result.entropies, np.log([2, 3, 5]))


def test_the_ceiling_on_dsprites_is_below_one():
    """20 bins: at best ln 20 nats about 32 or 40 values. Here without the noise of sampling: a full grid."""
    parts = [np.arange(np.lcm.reduce(SIZES)) % size for size in SIZES]  # each value equally often
    own = [mig(np.stack([part, 0 * part], 1), part[:, None]) for part in parts]
    ceilings = [1, 1, math.log(20) / math.log(40), math.log(20) / math.log(32), math.log(20) / math.log(32)]
    # 40 values fill 20 bins evenly and reach the bound. 32 values cannot: 12 bins hold two of them, 8 hold one.
    uneven = 1 - 24 / 32 * math.log(2) / math.log(32)
    assert [result.score for result in own[:3]] == pytest.approx(ceilings[:3])
    assert own[3].score == own[4].score == pytest.approx(uneven)
    assert uneven < ceilings[3]
    assert np.mean(ceilings) == pytest.approx(0.908, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_nearly_perfect_code_of_dsprites(seed):
    classes = factors(10_000, seed)
    result = mig(axis_aligned(classes, 0.03, latents=10, seed=seed), classes)
    assert result.score == pytest.approx(0.736, abs=0.02)
    assert result.gaps == pytest.approx([0.998, 0.983, 0.539, 0.58, 0.58], abs=0.025)


def test_random_codes_score_almost_nothing():
    classes = factors(10_000)
    codes = numpy_stream(0, "random").normal(size=(10_000, 10))
    assert mig(codes, classes).score < 0.005
    assert mig(hashed(classes, 10), classes).score < 0.005


def test_order_sign_and_scale_of_latents_do_not_matter():
    classes = factors(2000)
    codes = axis_aligned(classes, 0.05, latents=6)
    score = mig(codes, classes).score
    assert mig(codes[:, [3, 0, 5, 1, 4, 2]], classes).score == pytest.approx(score, abs=1e-12)
    assert mig(-codes, classes).score == pytest.approx(score, abs=2e-3)  # bins own the other edge
    assert mig(codes * 2.0 ** np.arange(6) + 3, classes).score == pytest.approx(score, abs=2e-3)
    assert mig(codes, classes[:, ::-1] * 7 - 3).score == pytest.approx(score, abs=1e-12)


def test_a_rotated_and_a_doubled_code_score_less():
    classes = factors(2000)
    codes = axis_aligned(classes, 0.03)
    score = mig(codes, classes).score
    assert mig(codes @ rotation(5), classes).score < 0.4 * score
    assert mig(np.concatenate([codes, codes], 1), classes).score == 0
    assert mig(np.concatenate([codes, np.ones((2000, 1))], 1), classes).score == pytest.approx(score)


def test_constant_codes_score_zero():
    assert mig(np.zeros((100, 3)), factors(100)).score == 0


def test_errors_name_the_value():
    classes = factors(100)
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        mig(np.zeros((100, 1)), classes)
    with pytest.raises(DataError, match="factor 1 has the value 4 in all 100 samples"):
        mig(np.zeros((100, 2)), np.stack([classes[:, 0], np.full(100, 4)], 1))
    with pytest.raises(DataError, match="inf in latent 0 of sample 0"):
        mig(np.full((100, 2), np.inf), classes)
    with pytest.raises(DataError, match="in all 1 samples"):
        mig(np.zeros((1, 2)), classes[:1])
