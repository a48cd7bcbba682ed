"""The scores, where their value is known in closed form or can be written down naively."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.density_coverage import density_and_coverage, density_coverage
from lightning_gvae.metrics.fidelity.features import Features, SpaceId
from lightning_gvae.metrics.fidelity.fid import fid
from lightning_gvae.metrics.fidelity.inception_score import inception_score
from lightning_gvae.metrics.fidelity.kid import kid
from lightning_gvae.metrics.fidelity.precision_recall import precision_recall
from lightning_gvae.metrics.fidelity.statistics import Moments, MomentSums, moments_of
from lightning_gvae.rng import numpy_stream, torch_stream

SPACE = SpaceId("domain", 8, 10, "abcdef0123456789", "digits", 0.987)


def normal(count, *, seed=0, dims=8, scale=1.0, shift=0.0, space=SPACE, logits=True):
    stream = torch_stream(seed, "test/features")
    values = torch.randn(count, dims, generator=stream) * scale + shift
    return Features(values, torch.randn(count, 10, generator=stream) if logits else None, space)


def moments(mean, covariance, count=1000):
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    return Moments(mean, covariance, count, replace(SPACE, dims=len(mean)))


def test_fid_between_diagonal_normals():
    a, b = np.array([0.5, 1.0, 4.0]), np.array([2.0, 1.0, 0.25])
    shift = np.array([1.0, -2.0, 0.5])
    score = fid(moments(shift, np.diag(a)), moments(np.zeros(3), np.diag(b)))
    assert score.value == pytest.approx((shift**2).sum() + ((a**0.5 - b**0.5) ** 2).sum(), rel=1e-12)
    assert score.name == "fid/domain"
    assert (score.sd, score.resamples, score.samples, score.references) == (None, 1, 1000, 1000)


def test_fid_between_correlated_normals_is_the_bures_distance():
    stream = numpy_stream(0, "test/covariances")
    roots = stream.normal(size=(2, 6, 9))
    first, second = (root @ root.T for root in roots)
    values, vectors = np.linalg.eigh(first)
    root = vectors * values**0.5 @ vectors.T
    expected = np.trace(first + second) - 2 * np.sqrt(np.linalg.eigvalsh(root @ second @ root)).sum()
    assert fid(moments(np.zeros(6), first), moments(np.zeros(6), second)).value == pytest.approx(expected, rel=1e-9)


def test_fid_in_one_dimension():
    score = fid(moments([0.3], [[0.49]]), moments([0.0], [[1.0]]))
    assert score.value == pytest.approx(0.3**2 + 0.3**2, rel=1e-12)


def test_fid_of_a_set_with_itself_is_zero():
    features = normal(200)
    assert fid(features, features).value == pytest.approx(0, abs=1e-10)
    assert fid(features, moments_of(features)).value == pytest.approx(0, abs=1e-10)


def test_fid_estimates_the_distance_of_the_distributions():
    score = fid(normal(20_000, shift=0.5, scale=2), normal(20_000, seed=1))
    assert score.value == pytest.approx(8 * (0.5**2 + 1), rel=0.02)


def test_resamples_are_seeded_and_spread():
    generated, real = normal(400), normal(400, seed=1)
    score = fid(generated, real, resamples=5)
    assert score == fid(generated, real, resamples=5)
    assert score != fid(generated, real, resamples=5, seed=1)
    assert score.samples == 200
    assert 0 < score.sd < score.value
    assert score.value > fid(generated, real).value  # biased upwards by fewer images
    assert fid(generated, real, resamples=2, size=100).samples == 100


def test_scores_say_what_they_rest_on():
    score = fid(normal(100), normal(200, seed=1))
    assert (score.feature_space, score.fingerprint, score.accuracy) == ("domain", "abcdef0123456789", 0.987)
    assert "100 samples against 200, classifier accuracy 98.70%" in str(score)
    assert "±" in str(kid(normal(100), normal(100), size=50))


def test_kid_is_unbiased_and_sees_a_shift():
    same = kid(normal(2000), normal(2000, seed=1), subsets=50, size=500)
    assert abs(same.value) < 2 * same.sd
    assert kid(normal(500), normal(500, seed=1, shift=0.5), subsets=10, size=200).value > 0.1
    assert same.name == "kid/domain"
    assert (same.samples, same.resamples) == (500, 50)


def test_kid_of_two_pairs_by_hand():
    space = replace(SPACE, dims=1, classes=None)
    x, y = np.array([1.0, 2.0]), np.array([0.0, 3.0])
    a, b = (Features(torch.tensor(v, dtype=torch.float32)[:, None], None, space) for v in (x, y))

    def k(u, v):
        return (u * v + 1) ** 3

    expected = k(1, 2) + k(0, 3) - sum(k(u, v) for u in x for v in y) / 2
    assert kid(a, b, subsets=1, size=2).value == pytest.approx(expected, rel=1e-6)


def test_inception_score_of_certain_and_even_predictions_is_the_number_of_classes():
    labels = torch.arange(1000) % 10
    certain = replace(normal(1000), logits=torch.nn.functional.one_hot(labels, 10) * 100.0)
    score = inception_score(certain, splits=1)
    assert score.value == pytest.approx(10, rel=1e-6)
    assert score.name == "is/domain"
    assert score.references == 0
    assert inception_score(certain).value == pytest.approx(10, rel=0.06)  # splits are not quite even
    assert inception_score(certain).sd > 0


@pytest.mark.parametrize("logits", [torch.zeros(100, 10), torch.eye(10)[3].repeat(100, 1) * 50])
def test_inception_score_of_uninformative_predictions_is_one(logits):
    assert inception_score(replace(normal(100), logits=logits)).value == pytest.approx(1)


def test_neighbour_scores_of_a_set_with_itself():
    features = normal(300)
    assert [score.value for score in precision_recall(features, features)] == [1, 1]
    density, coverage = density_coverage(features, features)
    assert density.value == pytest.approx(1)
    assert coverage.value == 1
    assert (density.name, coverage.name) == ("density/domain", "coverage/domain")


def test_neighbour_scores_of_disjoint_sets_are_zero():
    first, second = normal(100), normal(120, shift=100)
    scores = [*precision_recall(first, second), *density_coverage(first, second)]
    assert [score.value for score in scores] == [0, 0, 0, 0]
    assert {score.samples for score in scores} == {100}
    assert {score.references for score in scores} == {120}


def test_a_collapsed_generator_is_precise_and_covers_little():
    real = normal(300)
    one = Features(real.values[:1].repeat(100, 1) + 1e-3 * normal(100).values, None, SPACE)
    precision, recall = precision_recall(one, real)
    assert precision.value == 1
    assert recall.value < 0.05
    assert density_coverage(one, real)[1].value < 0.2


def naive(real, fake, k):
    """Precision, recall, density, coverage as the authors of the latter wrote them."""

    def distances(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    radius_real = np.sort(distances(real, real), 1)[:, k]
    radius_fake = np.sort(distances(fake, fake), 1)[:, k]
    d = distances(real, fake)
    return (
        (d < radius_real[:, None]).any(0).mean(),
        (d < radius_fake[None]).any(1).mean(),
        (d < radius_real[:, None]).sum(0).mean() / k,
        (d.min(1) < radius_real).mean(),
    )


@pytest.mark.parametrize(("count", "shift", "k"), [(150, 0.0, 3), (150, 0.8, 5), (90, 1.5, 1)])
def test_neighbour_scores_equal_the_naive_formulas(count, shift, k, monkeypatch):
    monkeypatch.setattr("lightning_gvae.metrics.fidelity.density_coverage.BUDGET", 8 * 150 * 17)  # pieces of 17 rows
    real, generated = normal(120), normal(count, seed=1, shift=shift)
    precision, recall, density, coverage = naive(real.values.double().numpy(), generated.values.double().numpy(), k)
    found = density_coverage(generated, real, neighbours=k)
    assert [score.value for score in found] == pytest.approx([density, coverage], rel=1e-12)
    found = precision_recall(generated, real, neighbours=k)
    assert [score.value for score in found] == pytest.approx([precision, recall], abs=1e-6)


def test_neighbours_far_from_the_origin_keep_their_distances():
    near, far = normal(60), normal(60, shift=1e4)
    expected = density_and_coverage(far.values, far.values, 3)
    assert expected == density_and_coverage(near.values, near.values, 3) == pytest.approx((1, 1))


def test_neighbour_scores_of_resamples_use_equally_many_of_both():
    density, _ = density_coverage(normal(100), normal(300, seed=1), resamples=4)
    assert (density.samples, density.references, density.resamples) == (50, 50, 4)
    assert density.sd > 0
    assert density == density_coverage(normal(100), normal(300, seed=1), resamples=4)[0]


def test_streamed_moments_equal_the_whole_and_keep_digits_far_from_zero():
    values = normal(500, shift=1e5).values
    sums = MomentSums(SPACE)
    for part in values.split([1, 199, 0, 300]):
        sums.add(part)
    found = sums.result()
    np.testing.assert_allclose(found.mean, values.double().mean(0).numpy(), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(values.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-9)


def test_too_few_images_for_a_covariance():
    with pytest.raises(ConfigError, match=r"at least 9 images, got 8; take more, a smaller space"):
        fid(normal(8), normal(100))
    with pytest.raises(ConfigError, match="at least 9 images, got 5"):
        fid(normal(100), normal(100), resamples=2, size=5)


def test_two_spaces_are_never_mixed():
    other = normal(100, space=replace(SPACE, fingerprint="1" * 16))
    for score in (fid, kid, precision_recall, density_coverage):
        with pytest.raises(ConfigError, match=r"domain \(abcdef01\) and domain \(11111111\) cannot be compared"):
            score(normal(100), other)
    with pytest.raises(ConfigError, match="cannot be compared"):
        fid(normal(100), moments_of(normal(100, space=replace(SPACE, name="inception"))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: kid(a, a), "at least 1 subset of 2..50 images .* got 100 of 1000; lower `size`"),
        (lambda a: kid(a, a, subsets=0, size=10), "got 0 of 10"),
        (lambda a: inception_score(a, splits=51), r"`splits` must be in 1..50"),
        (lambda a: inception_score(normal(50, logits=False)), "needs a space with classes"),
        (lambda a: precision_recall(a, a, neighbours=50), r"`neighbours` must be in 1..49"),
        (lambda a: density_coverage(a, a, neighbours=0), r"`neighbours` must be in 1..49"),
        (lambda a: density_and_coverage(a.values, a.values, 50), r"`neighbours` must be in 1..49"),
        (lambda a: fid(a, a, resamples=0), "`resamples` must be at least 1, got 0"),
        (lambda a: fid(a, a, size=51), r"`size` must be in 1..50, the number of images, got 51"),
        (lambda a: fid(moments_of(a), a, resamples=2), "moments cannot be resampled"),
    ],
)
def test_settings_out_of_range(call, message):
    with pytest.raises(ConfigError, match=message):
        call(normal(50))
