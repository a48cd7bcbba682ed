"""The space learnt from the data itself, and what is cached of it and of the real images."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lightning_gvae.datamodules.idx import read_idx
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.fidelity import domain, statistics
from lightning_gvae.metrics.fidelity.domain import Classifier, DomainSettings, LabelledImages, domain_space
from lightning_gvae.metrics.fidelity.features import extract_features
from lightning_gvae.metrics.fidelity.fid import fid
from lightning_gvae.metrics.fidelity.inception_score import inception_score
from lightning_gvae.metrics.fidelity.statistics import moments_of, real_moments
from lightning_gvae.rng import torch_stream

QUICK = DomainSettings(epochs=6, batch_size=32, dims=16)


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    images = (bunch.images * 15.9).astype(np.uint8).repeat(2, 1).repeat(2, 2)[:, None]
    return (
        LabelledImages(images[:1400], bunch.target[:1400]),
        LabelledImages(images[1400:], bunch.target[1400:]),
    )


@pytest.fixture(scope="module")
def space(digits):
    return domain_space("digits", *digits, cache_dir=None, settings=QUICK)


def test_it_learns_its_data_and_scores_say_how_well(digits, space):
    train, test = digits
    assert space.space.accuracy > 0.9
    assert (space.dims, space.space.classes, space.space.trained_on) == (16, 10, "digits")
    real, held_out = extract_features(space, train.images), extract_features(space, test.images)
    noise = torch.randint(0, 256, (300, 1, 16, 16), generator=torch_stream(0, "test/noise"), dtype=torch.uint8)
    assert fid(extract_features(space, noise), real).value > 10 * fid(held_out, real).value
    score = inception_score(held_out, splits=1)
    assert 5 < score.value <= 10
    assert score.accuracy == space.space.accuracy


def test_the_same_seed_gives_the_same_space_and_no_global_number_is_drawn(digits, space):
    before = torch.get_rng_state()
    again = domain_space("digits", *digits, cache_dir=None, settings=QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.space == space.space


def test_it_is_trained_once(digits, tmp_path, monkeypatch):
    settings = DomainSettings(epochs=1, dims=4)
    first = domain_space("digits", *digits, cache_dir=tmp_path, settings=settings)
    files = sorted(path.name for path in (tmp_path / "fidelity").iterdir())
    assert [name.startswith("domain-digits-") for name in files] == [True, True]  # the file and its lock
    monkeypatch.setattr(domain, "train_classifier", lambda *args: pytest.fail("trained again"))
    again = domain_space("digits", *digits, cache_dir=tmp_path, settings=settings)
    assert again.space == first.space
    with pytest.raises(pytest.fail.Exception):
        domain_space("digits", *digits, cache_dir=tmp_path, settings=DomainSettings(epochs=1, dims=4, seed=1))
    train, test = digits
    fewer = LabelledImages(train.images[1:], train.labels[1:])
    with pytest.raises(pytest.fail.Exception):
        domain_space("digits", fewer, test, cache_dir=tmp_path, settings=settings)


def test_a_damaged_cache_says_so(digits, tmp_path):
    settings = DomainSettings(epochs=1, dims=4)
    domain_space("digits", *digits, cache_dir=tmp_path, settings=settings)
    (path,) = (tmp_path / "fidelity").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged .* delete it"):
        domain_space("digits", *digits, cache_dir=tmp_path, settings=settings)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 64, 64), (3, 64, 48), (1, 8, 8), (1, 200, 90)])
def test_the_classifier_takes_any_size(shape):
    net = Classifier(shape, classes=5, dims=7)
    features, logits = net(torch.zeros(2, *shape, dtype=torch.uint8))
    assert (features.shape, logits.shape) == ((2, 7), (2, 5))
    assert sum(parameter.numel() for parameter in net.parameters()) < 1.2e6


def test_other_images_are_refused(space):
    with pytest.raises(DataError, match=r"digits with images of shape \(1, 16, 16\), got \(3, 16, 16\)"):
        space(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: LabelledImages(a.images.astype(float), a.labels), "`images` must be uint8"),
        (lambda a: LabelledImages(a.images[:0], a.labels[:0]), "`images` must be uint8"),
        (lambda a: LabelledImages(a.images, a.labels[1:]), r"`labels` must be classes .* of shape \(1400,\)"),
        (lambda a: LabelledImages(a.images, a.labels - 1), "`labels` must be classes"),
        (lambda a: domain_space("x", a, LabelledImages(a.images[..., 1:], a.labels), cache_dir=None), "shape"),
        (
            lambda a: domain_space("x", *[LabelledImages(a.images, a.labels * 0)] * 2, cache_dir=None),
            "at least 2 classes",
        ),
    ],
)
def test_data_that_cannot_be_learnt(digits, call, message):
    with pytest.raises(DataError, match=message):
        call(digits[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DomainSettings(epochs=0), "`epochs` must be at least 1, got 0"),
        (lambda: DomainSettings(learning_rate=1), "`learning_rate` must lie between 0 and 1, got 1"),
        (lambda: Classifier((1, 7, 28), 10), "at least 8x8 .* got 7x28"),
    ],
)
def test_settings_out_of_range(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_moments_of_real_images_are_computed_once(digits, space, tmp_path, monkeypatch):
    images = digits[0].images
    images.flags.writeable = False  # as a memory-mapped file is
    first = real_moments(space, images, cache_dir=tmp_path)
    whole = moments_of(extract_features(space, images))
    np.testing.assert_allclose(first.mean, whole.mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(first.covariance, whole.covariance, rtol=1e-5, atol=1e-6)
    assert first.count == len(images)
    some = real_moments(space, images, cache_dir=tmp_path, count=500, seed=3)
    monkeypatch.setattr(statistics, "moments_of_images", lambda *args: pytest.fail("computed again"))
    again = real_moments(space, images, cache_dir=tmp_path)
    assert np.array_equal(again.mean, first.mean)
    assert np.array_equal(again.covariance, first.covariance)
    assert np.array_equal(real_moments(space, images, cache_dir=tmp_path, count=500, seed=3).mean, some.mean)
    for other in ({"count": 501}, {"count": 500, "seed": 4}, {"fingerprint": "0" * 32}):
        with pytest.raises(pytest.fail.Exception):
            real_moments(space, images, cache_dir=tmp_path, **other)


def test_moments_of_too_few_images_are_refused_before_they_are_computed(digits, space):
    images = digits[0].images
    with pytest.raises(ConfigError, match="at least 17 images, got 16"):
        real_moments(space, images, cache_dir=None, count=16)
    with pytest.raises(ConfigError, match=r"`count` must be in 1..1400, .* got 1401"):
        real_moments(space, images, cache_dir=None, count=1401)


@pytest.mark.slow
def test_mnist_is_learnt_to_98_5_percent(data_dir):
    def part(name):
        images = read_idx(data_dir / "mnist" / f"{name}-images-idx3-ubyte.gz", 3)[:, None]
        return LabelledImages(images, read_idx(data_dir / "mnist" / f"{name}-labels-idx1-ubyte.gz", 1))

    space = domain_space("mnist", part("train"), part("t10k"), cache_dir=None)
    assert space.space.accuracy >= 0.985
    held_out = extract_features(space, part("t10k").images)
    assert inception_score(held_out).value > 9
