"""Facts that scores rest on: which images, how many, which weights and modes, and what is said of it."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import DataError
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE
from lightning_gvae.samplers import make_sampler
from tests.evaluation.kinds import make_data


@pytest.fixture(scope="module")
def digits():
    module = DigitsDataModule()
    module.setup()
    return module


def norm_vae():
    """A model that computes something else in training mode: batch normalisation, and the sigma of the batch."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
    decoder = nn.Sequential(nn.Linear(2, 64), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Unflatten(1, (1, 8, 8)))
    return VAE((1, 8, 8), latent_dim=2, network=(encoder, decoder), likelihood="optimal_sigma")


def test_models_are_scored_in_evaluation_mode_and_left_as_they_were(digits):
    suite = Suite(samples=150, resamples=1, importance_samples=3, likelihood_images=40, posteriors=40)
    names = ["nll", "aggregate_kl", "fid"]
    expected = suite.run(names, norm_vae().eval(), digits)
    model = norm_vae()
    model.decoder[1].eval()  # a part that is frozen stays frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert suite.run(names, model, digits) == expected
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and model.encoder[2].training and not model.decoder[1].training


def test_scores_of_images_say_their_numbers_draws_and_space(digits):
    suite = Suite(samples=300, resamples=2, samplers=["prior"], seed=4)
    sheet = suite.run(["fid", "kid", "is"], VAE((1, 8, 8), latent_dim=2, network="mlp"), digits)
    facts = sheet.facts["score/fid/domain/prior"]
    assert (facts["samples"], facts["references"], facts["resamples"], facts["seed"]) == (150, 300, 2, 4)
    assert facts["part"] == "test" and facts["feature_space"] == "domain (128 dimensions)"
    assert 0.5 < facts["classifier_accuracy"] <= 1 and len(facts["fingerprint"]) > 8
    assert facts["caution"].startswith("150 images for a covariance of 128 dimensions: biased upwards")
    assert "references" not in sheet.facts["score/is/domain/prior"]
    assert set(sheet) == set(sheet.facts) | {f"score/{name}/domain/prior_sd" for name in ("fid", "kid", "is")}


def test_fewer_test_images_than_samples_are_counted(digits):
    sheet = Suite(samples=1000, resamples=1).run("kid", VAE((1, 8, 8), latent_dim=2, network="mlp"), digits)
    facts = sheet.facts["score/kid/domain/prior"]
    assert len(digits.test_set) == 400 and (facts["samples"], facts["references"]) == (400, 400)


def test_a_likelihood_says_its_draws_and_what_its_pixels_are(digits):
    suite = Suite(importance_samples=7, likelihood_images=30, seed=2)
    facts = {
        kind: suite.run("nll", VAE((1, 8, 8), latent_dim=2, network="mlp", likelihood=kind), digits).facts["score/nll"]
        for kind in ("bernoulli", "gaussian")
    }
    plain = {"images": 30, "part": "test", "importance_samples": 7, "seed": 2}
    assert all(plain.items() <= found.items() for found in facts.values())
    assert "cross-entropy of grey values" in facts["bernoulli"]["caution"]
    assert "without dequantising noise" in facts["gaussian"]["caution"]


def test_codes_of_data_without_a_grid_are_of_test_images(tmp_path):
    data = make_data("attributes", tmp_path)
    data.arrays.targets[:, 2] = np.arange(60) % 2
    trained_on = set(data.train_set.indices.tolist())
    asked = []

    class Source:
        def __len__(self):
            return len(data.arrays)

        def batch(self, indices):
            asked.extend(np.asarray(indices).tolist())
            return data.arrays.batch(indices)

    for part in (data.train_set, data.test_set):
        object.__setattr__(part, "source", Source())
    model = VAE((1, 8, 8), latent_dim=3, network="mlp")
    sheet = Suite(posteriors=100).run(["mig", "sap", "mig_chen"], model, data)
    assert asked and not trained_on & set(asked)
    assert sheet.facts["score/sap"] == {"images": 20, "test_images": 10, "part": "test", "seed": 0}


def test_runs_with_different_seeds_are_scored_on_the_same_images_in_the_same_space():
    def of(seed):
        # The parts stay; the order of the training and the noise of the model are those of the run.
        data = DigitsDataModule(seed=seed, split_seed=0)
        data.setup()
        return data, VAE((1, 8, 8), latent_dim=2, network="mlp", seed=seed)

    suite, found = Suite(samples=150, resamples=1), []
    for data, model in (of(1), of(2)):
        subject = Subject(model, data, suite.seed)
        tests = [subject.positions(data.test_set, 20, "nll"), data.test_set.indices]
        space = suite.run("fid", model, data).facts["score/fid/domain/prior"]["fingerprint"]
        found.append((*(part.tolist() for part in tests), space))
    assert found[0] == found[1]


def test_the_seed_of_the_evaluation_is_that_of_the_classifier(digits):
    model = VAE((1, 8, 8), latent_dim=2, network="mlp")
    spaces = [
        Suite(samples=150, resamples=1, seed=seed)
        .run("fid", model, digits)
        .facts["score/fid/domain/prior"]["fingerprint"]
        for seed in (0, 0, 1)
    ]
    assert spaces[0] == spaces[1] != spaces[2]


def test_a_mixture_that_cannot_be_fitted_says_so(monkeypatch):
    def fail(self, draws):
        raise ValueError("some components have ill-defined empirical covariance")

    monkeypatch.setattr("sklearn.mixture.GaussianMixture.fit", fail)
    with pytest.raises(DataError, match="no mixture of 10 Gaussians fits the posteriors"):
        make_sampler("gmm", 2).fit(torch.zeros(20, 2), torch.zeros(20, 2), 0)
