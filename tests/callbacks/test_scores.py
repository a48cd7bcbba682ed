from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import FSDPStrategy

from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.score_check import ScoreCheck
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
    with pytest.raises(ConfigError, match="a score needs a data module in three parts; there is none. Fit with"):
        run.fit(FakeVAE(), train_loader(), val_loader())


def test_a_score_that_cannot_be_had_is_left_out_and_said_once(tmp_path, recwarn):
    history = History()
    fit(tmp_path, Scores(["nll", "fid", "mig"], Suite(samples=50, likelihood_images=20, importance_samples=2)), history)
    assert "score/nll" in history.names and "score/fid/domain/prior" not in history.names
    said = [str(warning.message) for warning in recwarn if "left out" in str(warning.message)]
    assert len(said) == 2 and any("needs at least 129 images" in text for text in said)


def test_wrong_names_and_scores_of_other_data_are_refused_before_the_first_step(tmp_path):
    with pytest.raises(ConfigError, match="`metrics` may name nll, .*; got nnl"):
        Scores(["nnl"])
    with pytest.raises(ConfigError, match="none of the scores .* mig, dci: it compares codes with factors"):
        fit(tmp_path, Scores(["mig", "dci"], SUITE), Untrained())


@pytest.mark.parametrize("callback", [Scores("nll", SUITE), ScoreCheck("nll", SUITE)])
def test_weights_in_pieces_are_refused(callback):
    trainer = SimpleNamespace(strategy=FSDPStrategy(), datamodule=object())
    with pytest.raises(
        ConfigError, match="`trainer.strategy` FSDPStrategy may shard them; .* evaluate .* with eval.py"
    ):
        callback.on_fit_start(trainer, None)


class Untrained(L.Callback):
    def on_train_batch_start(self, *args):
        raise AssertionError("it is too late for a mistake in the settings")


@pytest.mark.parametrize("first", ["average", "scores"])
def test_averaged_weights_are_scored_as_they_are_validated(first, tmp_path):
    average = EMAWeightAveraging(decay=0.9, use_buffers=False)
    scored = []

    class Watched(Suite):
        def measure(self, names, model, *args, **kwargs):
            scored.append(next(iter(model.parameters())).detach().clone())
            return super().measure(names, model, *args, **kwargs)

    validated = []

    class Watch(L.Callback):
        def on_validation_batch_start(self, trainer, pl_module, *args):
            validated.append(next(iter(pl_module.parameters())).detach().clone())

    scores = Scores("nll", Watched(importance_samples=2, likelihood_images=20))
    fit(tmp_path, *((average, scores) if first == "average" else (scores, average)), Watch())
    steps = validated[-len(scored) :]
    assert len(scored) == 4 and all(torch.equal(one, other) for one, other in zip(scored, steps, strict=True))
