import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.probes import linear_probe, mlp_probe
from lightning_gvae.rng import numpy_stream


def digits():
    data = DigitsDataModule()
    data.setup()
    return [
        (images.flatten(1).float() / 255, labels)
        for images, labels in (part.batch(range(len(part))) for part in (data.train_set, data.test_set))
    ]


def test_the_linear_probe_is_as_good_as_scikit_learns():
    train, test = digits()
    scaler = StandardScaler().fit(train[0])
    theirs = LogisticRegression(max_iter=500).fit(scaler.transform(train[0]), train[1])
    accuracy = theirs.score(scaler.transform(test[0]), test[1])
    probe = linear_probe(train, test, 10)
    assert probe.accuracy == pytest.approx(accuracy, abs=0.03) and accuracy > 0.9
    assert 0 < probe.loss < 0.4


def test_the_network_sees_what_no_linear_probe_can():
    stream = numpy_stream(0, "xor")
    codes = torch.from_numpy(stream.standard_normal((2400, 2))).float()
    labels = ((codes[:, 0] > 0) ^ (codes[:, 1] > 0)).long()
    train, test = (codes[:2000], labels[:2000]), (codes[2000:], labels[2000:])
    assert linear_probe(train, test, 2).accuracy < 0.65
    assert mlp_probe(train, test, 2).accuracy > 0.95


def test_noise_is_classified_by_chance_and_the_seed_decides_everything():
    codes = torch.from_numpy(numpy_stream(1, "noise").standard_normal((2000, 8))).float()
    labels = torch.from_numpy(numpy_stream(2, "labels").integers(0, 4, 2000))
    train, test = (codes[:1000], labels[:1000]), (codes[1000:], labels[1000:])
    before = torch.get_rng_state()
    first = linear_probe(train, test, 4, seed=1)
    mlp_probe(train, test, 4, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert first == linear_probe(train, test, 4, seed=1)
    assert abs(first.accuracy - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 1000)
    assert first.loss > np.log(4) - 0.05


def test_codes_without_labels_are_refused():
    codes = torch.zeros(4, 2)
    with pytest.raises(ConfigError, match=r"one label each .* shape \(4, 2\)"):
        linear_probe((codes, torch.zeros(4, 2)), (codes, torch.zeros(4)), 2)
