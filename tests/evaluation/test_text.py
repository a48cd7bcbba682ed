"""Scores of text by name: exact where the model is, bounds where it is not, and for text alone."""

import math

import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE, TextLM, TextVAE
from tests.datamodules.sentences import write_corpus

SHAPE = (20, 17)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_corpus(tmp_path_factory.mktemp("corpus") / "toy")
    module = TextDataModule(root, name="toy", max_length=20, cache_dir=root)
    module.setup()
    return module


def built(kind, data, **kwargs):
    torch.manual_seed(0)
    model = kind(SHAPE, embedding=8, hidden=12, **kwargs)
    model.vocabulary = data.vocabulary
    return model


def test_perplexity_of_a_model_without_latents_is_exact(data):
    model = built(TextLM, data).eval()
    scores = Suite(likelihood_images=30, importance_samples=50).run(["perplexity"], model, data)
    chosen = Subject(model, data, seed=0).positions(data.test_set, 30, "nll")
    nats = words = 0.0
    for number in chosen:
        tokens, lengths = data.test_set.batch([number])
        nats -= model.log_likelihood(tokens, torch.zeros(1, 0)).item()
        words += int(lengths)
    assert scores["score/perplexity_iw"] == pytest.approx(math.exp(nats / words), rel=1e-5)
    assert scores["score/perplexity_elbo"] == pytest.approx(scores["score/perplexity_iw"], rel=1e-9)


def test_the_bound_is_above_and_more_draws_tighten_it(data):
    model = built(TextVAE, data, latent_dim=2)
    with torch.no_grad():
        model.decoder.first.weight.mul_(6)
        model.encoder.head.bias[:2] += 2.0  # a posterior that is far from the true one
    found = {
        k: Suite(importance_samples=k, likelihood_images=40).run(["perplexity"], model, data)["score/perplexity_iw"]
        for k in (1, 10, 300)
    }
    assert found[1] > found[10] > found[300]


def test_all_means_what_text_has_and_the_names_are_stable(data):
    model = built(TextVAE, data, latent_dim=2)
    suite = Suite(samples=30, likelihood_images=20, importance_samples=3, posteriors=40)
    scores = suite.run("all", model, data)
    names = {"mutual_information", "total_correlation", "dimension_wise_kl", "perplexity_iw", "perplexity_elbo"}
    names |= {"distinct_1", "distinct_2", "self_bleu_2", "self_bleu_3", "words"}
    assert set(scores) == {f"score/{name}" for name in names}
    assert scores == suite.run("all", model, data)
    assert 0 < scores["score/distinct_1"] < scores["score/distinct_2"] <= 1
    assert model.training


def test_scores_of_text_are_for_text():
    module = DigitsDataModule()
    module.setup()
    with pytest.raises(ConfigError, match="perplexity: it is a score of text, and digits is none"):
        Suite().run(["perplexity"], VAE((1, 8, 8), latent_dim=2), module)
