"""The suite on models whose scores are known, and on a trained one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.feature_cache import real_features
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE

SIZES = (4, 5)


class Grid(ImageDataModule):
    """20 images, a 1x2 picture of two factors, each there as often as a split needs."""

    def __init__(self):
        spec = DataSpec("grid", (1, 1, 2), factor_names=("a", "b"), factor_sizes=SIZES, is_grid=True)
        super().__init__(spec, val_size=2, test_size=8)

    def load(self):
        factors = np.stack(np.unravel_index(np.arange(20), SIZES), axis=1)
        return ImageArrays((factors * 40).astype(np.uint8)[:, None, None, :], factors), None


class Reader(nn.Module):
    """Reads the two factors off the pixels, with posteriors of a given width; a third latent knows nothing."""

    latent_dim, device, image_shape, has_posterior = 3, torch.device("cpu"), (1, 1, 2), True

    def __init__(self, log_var: float = -8.0):
        super().__init__()
        self.log_var = log_var

    def prepare(self, images: Tensor) -> Tensor:
        return images.float() / 255

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = torch.nn.functional.pad(images.flatten(1), (0, 1))
        return means, torch.full_like(means, self.log_var)


def ready(module):
    module.setup()
    return module


def test_a_reader_of_the_factors_is_disentangled():
    suite = Suite(posteriors=3000, votes=400, cache_dir=None)
    model = Reader()
    scores = suite.run(["mig", "modularity", "beta_vae_score", "factor_vae_score", "sap"], model, ready(Grid()))
    # 20 bins hold 4 and 5 values without loss, so that the code is perfect.
    assert scores["score/mig"] == pytest.approx(1, abs=0.01)  # the draws of the factors are a little dependent
    assert scores["score/modularity"] == pytest.approx(2 / 3, abs=0.01)  # the latent that knows nothing counts as 0
    assert scores["score/beta_vae_score"] == scores["score/factor_vae_score"] == 1
    assert model.training, "the model is left as it was"


def test_factors_are_encoded_through_the_right_images():
    subject = Subject(Reader(), ready(Grid()), batch_size=3)
    factors = np.array([[3, 4], [0, 0], [2, 1], [3, 4]])
    assert np.allclose(subject.encode_factors(factors), np.pad(factors * 40 / 255, ((0, 0), (0, 1))))


def test_scores_of_a_grid_encode_an_image_once(monkeypatch):
    encoded = []
    encode = Reader.encode
    monkeypatch.setattr(Reader, "encode", lambda self, images: encoded.append(len(images)) or encode(self, images))
    suite = Suite(votes=400, cache_dir=None)
    suite.run(["beta_vae_score", "factor_vae_score"], Reader(), ready(Grid()))
    assert sum(encoded) == 20  # 4 x 5 images


@pytest.fixture(scope="module")
def digits():
    """A small model of the digits, trained a little by hand."""
    data = ready(DigitsDataModule(batch_size=128, val_size=100, test_size=600))
    model = VAE((1, 8, 8), latent_dim=4, network="mlp")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(25):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for images, *_ in loader:
            terms = model.elbo_terms(model.prepare(images), torch.Generator().manual_seed(epoch))
            optimizer.zero_grad()
            (terms.recon + terms.kl).backward()
            optimizer.step()
    return model, data


def test_likelihood_and_aggregate_agree_with_the_elbo(digits):
    model, data = digits
    scores = Suite(importance_samples=200, likelihood_images=600).run(["nll", "aggregate_kl"], model, data)
    images = model.prepare(data.test_set.batch(np.arange(600))[0])
    with torch.no_grad():
        terms = [model.elbo_terms(images, torch.Generator().manual_seed(seed)) for seed in range(20)]
    bound = np.mean([float(term.recon + term.kl) for term in terms])
    assert bound - 5 < scores["score/nll"] < bound
    parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
    assert sum(scores[f"score/{part}"] for part in parts) == pytest.approx(float(terms[0].kl), abs=0.5)


def test_the_same_seed_gives_the_same_scores(digits):
    names = ["nll", "aggregate_kl"]
    suite = Suite(importance_samples=5, likelihood_images=50, posteriors=100, seed=3)
    assert suite.run(names, *digits) == suite.run(names, *digits)
    assert suite.run("nll", *digits) != Suite(importance_samples=5, likelihood_images=50, seed=4).run("nll", *digits)


def test_images_are_scored_for_every_sampler_in_a_space_that_the_name_says(digits, tmp_path):
    suite = Suite(samples=600, resamples=2, samplers=("prior", "gmm", "reconstructions"), cache_dir=tmp_path)
    scores = suite.run("all", *digits)
    found = {name.removeprefix("score/") for name in scores}
    for kind in ("fid", "kid", "is", "precision", "recall", "density", "coverage"):
        assert {f"{kind}/domain/{sampler}" for sampler in suite.samplers} <= found
    assert "mig" not in found and "nll" in found
    assert scores["score/fid/domain/gmm"] < scores["score/fid/domain/prior"]
    assert len(list((tmp_path / "fidelity").glob("domain-digits-*.safetensors"))) == 1


def test_the_domain_is_the_same_whatever_was_held_out_for_validation(digits):
    class Official(DigitsDataModule):
        """The digits with a test set of their own, as MNIST has."""

        def load(self):
            pool, _ = super().load()
            images, targets = pool.images, pool.targets
            return ImageArrays(images[:1200], targets[:1200]), ImageArrays(images[1200:], targets[1200:])

    model, _ = digits
    suite = Suite(samples=300)
    spaces = []
    for seed in (0, 1):
        subject = Subject(model, ready(Official(val_size=200, seed=seed)))
        assert subject.data.val_set.indices[0] != 0
        spaces.append(real_features(subject, suite, "domain").space)
    assert spaces[0] == spaces[1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fidd"], "`metrics` may name nll, .*, or be all; got fidd"),
        (["all", "nll"], r"`metrics` must be all or a list of names, got \['all', 'nll'\]"),
        (
            ["mig", "dci"],
            (
                "none of the scores that `metrics` names can be computed: mig, dci: it compares codes with factors, "
                "and digits"
            ),
        ),
    ],
)
def test_scores_that_cannot_be_had_are_named(digits, names, message):
    with pytest.raises(ConfigError, match=message):
        Suite().run(names, *digits)


def test_factor_draws_need_a_grid_and_the_domain_labels():
    class Attributes(Grid):
        def __init__(self):
            super().__init__()
            self.spec = DataSpec("faces", (1, 1, 2), factor_names=("a", "b"), factor_sizes=SIZES)

    with pytest.raises(ConfigError, match="factor_vae_score: it draws images of chosen factors, and faces has not"):
        Suite().run("factor_vae_score", Reader(), ready(Attributes()))
    with pytest.raises(
        ConfigError, match="the feature space domain is a classifier of labelled images, and faces has no"
    ):
        Suite(samplers=["mean_image"]).run("fid", Reader(), ready(Attributes()))


@pytest.mark.parametrize("name", ["samples", "votes", "importance_samples"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"`{name}` must be an integer of at least 1, got 0"):
        Suite(**{name: 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"samplers": ["prior", "vamp"]},
            "`samplers` may name prior, gmm, flow, reconstructions, mean_image, training_images, got vamp",
        ),
        ({"feature_spaces": ["vgg"]}, "`feature_spaces` may name domain, inception, .*, got vgg"),
    ],
)
def test_unknown_samplers_and_spaces_are_refused_before_anything_is_computed(changes, message):
    with pytest.raises(ConfigError, match=message):
        Suite(**changes)


def test_a_learnt_prior_counts_in_samples_and_likelihood(digits):
    """A mixture of one Gaussian, N(1.5, I), against brute force."""
    data = digits[1]
    model = VAE((1, 8, 8), latent_dim=2, network="mlp", prior="gmm", prior_settings={"components": 1})
    with torch.no_grad():
        for name, parameter in model.prior.named_parameters():
            parameter.fill_(1.5 if "mean" in name else 0.0)
    latents = torch.cat(list(Subject(model, data).samples(2000, "prior")))
    plain = model.decode(1.5 + torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)))
    assert (latents.mean((0, 1)) - plain.mean((0, 1))).abs().max() < 0.02
    suite = Suite(importance_samples=2000, likelihood_images=20)
    images = model.prepare(data.test_set.batch(suite_positions(suite, data))[0])
    with torch.no_grad():
        draws = 1.5 + torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
        log_px = torch.stack(
            [-model.likelihood(model.decoder(draws), image.expand(20_000, -1, -1, -1)) for image in images]
        )
        expected = -(torch.logsumexp(log_px, 1) - np.log(20_000)).mean()
    assert suite.run("nll", model, data)["score/nll"] == pytest.approx(float(expected), abs=0.1)


def suite_positions(suite, data):
    return RealData(data, suite.seed).positions(data.test_set, suite.likelihood_images, "nll")
