"""Evolution of the KL weight of a network that is conditioned on it: scores, cost, refusals, resume."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.beta_evolution.trial import TrialData
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.conditioned import conditioned
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.lookahead import score
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.models import VAE, MultiRateVAE
from tests.callbacks.beta_evolution.test_callback import fit, rows, same_weights
from tests.models.test_adversarial_ranks import on_ranks

SHAPE = (1, 8, 8)
RANGE = (0.1, 10.0)


def build(**settings):
    torch.manual_seed(0)
    return MultiRateVAE(SHAPE, **({"latent_dim": 4, "network": "mlp", "beta_range": RANGE} | settings))


def evolution(interval=10, names=("beta",), bounds=RANGE, **settings):
    search = BetaSearch(target=6.0, genes=[Gene(name, *bounds) for name in names], variation={"delta": None}, seed=1)
    return BetaEvolution(search, interval, 10, **({"evaluator": "conditioned", "probe_size": 64} | settings))


def trial_of(trainer, model, genes):
    return TrialData(genes, seed=5, tag="test", steps=0, probe_size=50, conditioned=True).trial(trainer, model, 0)


@pytest.mark.parametrize(
    ("settings", "genes", "genomes"),
    [
        ({}, ["beta"], [[0.2], [1.0], [7.0]]),
        ({"latent_groups": [1, 3]}, ["beta_0", "beta_1"], [[0.2, 5.0], [5.0, 0.2], [1.0, 1.0]]),
    ],
    ids=["one rate", "a rate a group"],
)
def test_scores_are_those_of_the_plain_model_at_the_candidate(tmp_path, settings, genes, genomes):
    model = build(**settings)
    trainer = fit(tmp_path, model, [], steps=60)
    trial = trial_of(trainer, model, genes)
    model_copy = ModelCopy(model, trainer.optimizers[0])
    found = conditioned(model_copy, trial, np.array(genomes))
    before = [float(model.get_buffer(name)) for name in genes]
    for genome, row in zip(genomes, found, strict=True):
        plain = model.at(genome).eval()
        (batch, weight), *others = trial.probe
        assert weight == 1 and not others
        with torch.no_grad():
            terms = plain.elbo_terms(plain.prepare(batch), trial.noise.generator(-1))
        assert row == pytest.approx([float(terms.recon), float(terms.kl)], rel=1e-4)
    assert np.ptp(found[:, 1]) > 0.1 * found[:, 1].mean()  # the candidates do differ, at fixed weights
    assert [float(model.get_buffer(name)) for name in genes] == before
    model_copy.restore()
    assert score(model_copy, trial) == pytest.approx(conditioned(model_copy, trial, np.array([before]))[0])


def test_evolution_holds_a_kl_without_touching_the_training(tmp_path):
    def run(folder, callbacks):
        model = build(optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2))
        fit(tmp_path / folder, model, callbacks, steps=200)
        return model

    plain, evolved = run("plain", []), run("evolved", [evolution(interval=20)])
    last = [row for row in rows(tmp_path / "evolved") if row["chosen"] == "1"][-1]
    assert float(last["R"]) == pytest.approx(6.0, rel=0.1)
    assert float(last["beta"]) == float(evolved.beta) != 1.0
    evolved.beta.fill_(1.0)
    assert same_weights(plain, evolved)  # training reads no beta


def test_cost_is_a_forward_pass_a_candidate(tmp_path):
    spent = {"evolution": 0}

    class Counted(MultiRateVAE):
        def elbo_terms(self, images, generator=None):
            assert not torch.is_grad_enabled()
            assert not self.training
            spent["evolution"] += len(images)
            return super().elbo_terms(images, generator)

    callback = evolution()
    model = Counted(SHAPE, latent_dim=4, network="mlp", beta_range=RANGE)
    fit(tmp_path, model, [callback], steps=25)
    assert callback.search.generation == 2
    assert callback.evolution_passes == spent["evolution"] == 2 * (8 + 1) * 64
    assert model.training
    planned = callback.planned_extra_compute(64)
    assert planned == pytest.approx((8 * 64 + 64) / (3 * 64 * 10))


def test_resume_equals_the_uninterrupted_run(tmp_path):
    def run(folder, steps, ckpt=None):
        model, callback = build(draws_per_batch=8), evolution()
        saver = ModelCheckpoint(tmp_path / folder, every_n_train_steps=25, save_top_k=-1, filename="{step}")
        fit(tmp_path / folder, model, [callback, saver], steps, ckpt_path=ckpt, enable_checkpointing=True)
        return model, callback

    straight, one = run("straight", 45)
    run("broken", 25)
    resumed, other = run("resumed", 45, tmp_path / "broken" / "step=25.ckpt")
    assert same_weights(straight, resumed)
    assert one.search.state_dict() == other.search.state_dict()
    assert not same_weights(straight, copy.deepcopy(build()))


RANKS = """
import sys, warnings
import lightning as L
import torch
from tests.callbacks.beta_evolution.test_conditioned import build, evolution
from tests.callbacks.beta_evolution.test_callback import fit

warnings.simplefilter("ignore")
folder, world = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)

class Dump(L.Callback):
    def on_train_end(self, trainer, pl_module):
        search = trainer.callbacks[0].search.state_dict()
        torch.save([pl_module.state_dict(), search], f"{folder}/{trainer.global_rank}.pt")

if __name__ == "__main__":
    fit(folder, build(draws_per_batch=8), [evolution(), Dump()], 45, devices=world, strategy="ddp")
"""


@pytest.mark.slow
def test_ranks_train_one_network_and_choose_one_rate(tmp_path):
    (first, search), (second, other) = on_ranks(tmp_path, RANKS, "2", world=2)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert search == other
    assert search["generation"] == 4
    assert float(first["beta"]) != 1.0


@pytest.mark.parametrize(
    ("model", "callback", "message"),
    [
        (lambda: VAE(SHAPE), lambda: evolution(), "'conditioned' needs a model whose network is conditioned"),
        (build, lambda: evolution(evaluator="lookahead"), "must be 'conditioned' for MultiRateVAE, got 'lookahead'"),
        (build, lambda: evolution(bounds=(0.01, 10.0)), "must lie in `model.beta_range`, .0.1, 10., the KL weights"),
        (
            lambda: build(latent_groups=[2, 2]),
            lambda: evolution(names=["beta_0", "gates"]),
            "must name scalar buffers of the module, which has no .'gates'.",
        ),
    ],
    ids=["plain model", "look-ahead", "range", "no condition"],
)
def test_what_does_not_fit_is_refused(tmp_path, model, callback, message):
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, model(), [callback()], steps=12)


def test_the_kl_of_training_is_refused_as_source():
    with pytest.raises(ConfigError, match="`kl_source` must be 'probe' with `evaluator` 'conditioned'"):
        evolution(kl_source="training")
