import pytest
import torch

from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.scores import Scores
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE
from tests.callbacks import FakeVAE, quiet_trainer, train_loader, val_loader

SUITE = Suite(samples=200, resamples=1, importance_samples=2, likelihood_images=20, posteriors=100, cache_dir=None)


def fit(tmp_path, *callbacks):
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=3, network="mlp")
    settings = {"max_steps": 12, "val_check_interval": 3, "check_val_every_n_epoch": None, "logger": False}
    run = quiet_trainer(tmp_path, *callbacks, **settings, enable_checkpointing=False)
    run.fit(model, datamodule=DigitsDataModule(batch_size=64))
    return model


def test_scores_are_logged_at_every_second_validation_and_training_is_the_same(tmp_path):
    history = History()
    scores = Scores(["aggregate_kl", "fid", "nll"], SUITE, every_n_validations=2)
    watched = fit(tmp_path, scores, history)
    steps, values = history.series("score/mutual_information")
    assert steps.tolist() == history.series("val/elbo")[0][1::2].tolist() and len(steps) == 2
    assert (values > 0).all()
    assert {"score/fid/domain/prior", "score/nll"} <= set(history.names)
    for one, other in zip(watched.parameters(), fit(tmp_path).parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_last_scores_are_those_of_the_suite(tmp_path):
    history = History()
    model = fit(tmp_path, Scores("nll", SUITE), history)
    data = DigitsDataModule(batch_size=64)
    data.setup()
    assert history.series("score/nll")[1][-1] == pytest.approx(SUITE.run("nll", model, data)["score/nll"], rel=1e-6)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="`every_n_validations` must be at least 1, got 0"):
        Scores("nll", every_n_validations=0)
    run = quiet_trainer(tmp_path, Scores("nll"), max_steps=8, logger=False, enable_checkpointing=False)
    with pytest.raises(ConfigError, match="scores need a data module with `spec`"):
        run.fit(FakeVAE(), train_loader(), val_loader())
