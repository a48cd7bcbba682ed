"""PopulationEvolution in real Trainers: members are single runs, exchange, resume, ranks, lost members, errors."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from lightning_gvae.callbacks.population_evolution.callback import PopulationEvolution
from lightning_gvae.callbacks.population_evolution.run import PopulationRun
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.population.search import Exchange, PopulationSearch
from lightning_gvae.models import VAE, CapacityVAE
from lightning_gvae.models.multi_rate import MultiRateVAE
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder
from lightning_gvae.schedules import Annealing
from tests.callbacks.population_evolution.runs import SEED, SHAPE, Keep, Z, built, data, fit, journal, population, same
from tests.processes import free_port, join_lightning, start_ranks

BOTH = pytest.mark.parametrize("training", ["one_by_one", "stacked"])


def keeping(**settings):
    callback = population(**settings)
    callback.__class__ = Keep
    return callback


class Break(L.Callback):
    """Makes weights of members NaN before a step."""

    def __init__(self, members, step):
        self.members, self.step = members, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step != self.step:
            return
        (callback,) = (each for each in trainer.callbacks if isinstance(each, PopulationEvolution))
        for member in callback.run.members:
            if member.number in self.members:
                with torch.no_grad():
                    member.parameters[0].fill_(float("nan"))


@pytest.mark.parametrize("clip", [None, 0.5])
def test_members_that_never_exchange_are_single_runs_with_their_seeds_bit_for_bit(tmp_path, clip):
    callback = keeping(members=3, method="none")
    fit(tmp_path, built(), callback, gradient_clip_val=clip, limit_val_batches=0)
    for number, (beta,) in enumerate(callback.last["genes"]):
        single = built(SEED + number, beta=beta)
        fit(tmp_path / "single", single, gradient_clip_val=clip, limit_val_batches=0)
        assert same(callback.last["members"][number]["weights"], single.state_dict())


def test_members_trained_together_are_single_runs_up_to_rounding(tmp_path):
    settings = {"optimizer": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9)}
    callback = keeping(members=3, method="none", training="stacked")
    fit(tmp_path, built(**settings), callback, limit_val_batches=0)
    for number, (beta,) in enumerate(callback.last["genes"]):
        single = built(SEED + number, beta=beta, **settings)
        fit(tmp_path / "single", single, limit_val_batches=0)
        for name, value in single.state_dict().items():
            torch.testing.assert_close(callback.last["members"][number]["weights"][name], value, rtol=1e-4, atol=1e-5)


def test_one_member_alone_is_a_plain_run(tmp_path):
    plain, model = built(beta=0.7), built(beta=0.7)
    first = fit(tmp_path / "plain", plain, val_check_interval=10, check_val_every_n_epoch=None)
    callback = population(members=1, training="auto")
    second = fit(tmp_path / "one", model, callback, val_check_interval=10, check_val_every_n_epoch=None)
    assert same(plain.state_dict(), model.state_dict())
    assert second.global_step == first.global_step == 25
    compared = {"val/elbo", "val/recon", "val/kl", "val/loss"}
    assert compared <= first.callback_metrics.keys()
    for name in compared:
        assert torch.equal(first.callback_metrics[name], second.callback_metrics[name]), name
    for name in ("train/loss", "train/kl", "train/elbo"):
        assert float(second.callback_metrics[name]) == pytest.approx(float(first.callback_metrics[name]), rel=1e-5)
    assert len(json.loads((tmp_path / "one" / "front.json").read_text())["members"]) == 1


@BOTH
def test_exchange_copies_weights_and_optimiser_state_and_sets_genes(training):
    genes = {"beta": {"low": 0.1, "high": 10.0}, "optimizer.lr": {"low": 1e-4, "high": 1e-2}}
    run = PopulationRun(PopulationSearch(3, genes), built(), Clip(), fresh=True)
    images = torch.rand(8, *SHAPE)
    run.choose_training(training, images, 0, 0, "32-true")
    for number in range(3):
        run.step(images, 0, number)
    parent = run.members[2].state_dict()
    assert not same(parent["weights"], run.members[0].state_dict()["weights"])
    run.exchange([Exchange(0, 2, (0.5, 2e-3), "selected")])
    child, still = run.members[0].state_dict(), run.members[2].state_dict()
    for number, moments in parent["optimizer"]["state"].items():
        assert same(moments, child["optimizer"]["state"][number])
        assert moments["step"] == 3
        assert bool(moments["exp_avg"].any())
    assert same(parent["weights"] | {"beta": torch.tensor(0.5, dtype=torch.float64)}, child["weights"])
    assert [group["lr"] for group in child["optimizer"]["param_groups"]] == [2e-3]
    assert same(parent["weights"], still["weights"])
    assert run.genes[0].tolist() == [0.5, 2e-3]
    # they part again: noise and genes are their own
    run.step(images, 0, 3)
    assert not same(run.members[0].state_dict()["weights"], run.members[2].state_dict()["weights"])


@BOTH
def test_a_run_that_goes_on_is_the_uninterrupted_one(tmp_path, training):
    whole = keeping(training=training)
    fit(tmp_path / "whole", built(), whole, steps=50, save=True)
    fit(tmp_path / "first", built(), population(training=training), steps=25, save=True)
    second = keeping(training=training)
    path = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    trainer = fit(tmp_path / "second", built(), second, steps=50, save=True, ckpt_path=path)
    assert trainer.global_step == 50
    assert any(row["parent"] for row in journal(tmp_path / "whole"))
    assert journal(tmp_path / "second") == journal(tmp_path / "whole")
    for mine, other in zip(whole.last["members"], second.last["members"], strict=True):
        assert same(mine["weights"], other["weights"])
    assert whole.extra_compute == second.extra_compute
    fronts = [json.loads((tmp_path / name / "front.json").read_text()) for name in ("whole", "second")]
    assert fronts[0] == fronts[1]
    volumes = fronts[0]["hypervolume"]
    assert len(volumes) == 5
    assert volumes == sorted(volumes)


def on_ranks(rank, port, folder):
    join_lightning(rank, port)
    torch.set_num_threads(1)
    callback = keeping(members=3)
    fit(Path(folder), built(), callback, steps=25, devices=2, strategy="ddp", save=True)
    torch.save(callback.last, f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_one_and_two_processes_give_the_same_journal(tmp_path):
    start_ranks(on_ranks, free_port(), str(tmp_path / "two"))
    callback = keeping(members=3)
    fit(tmp_path / "one", built(), callback, steps=25, save=True)
    assert journal(tmp_path / "two") == journal(tmp_path / "one")
    first, second = (json.loads((tmp_path / name / "front.json").read_text()) for name in ("one", "two"))
    assert first == second
    for rank in range(2):
        states = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)["members"]
        for mine, other in zip(callback.last["members"], states, strict=True):
            assert same(mine["weights"], other["weights"])
    # what two wrote, one goes on with
    path = str(tmp_path / "two" / "checkpoints" / "last.ckpt")
    fit(tmp_path / "on", built(), population(members=3), steps=35, ckpt_path=path, save=True)
    fit(tmp_path / "straight", built(), population(members=3), steps=35)
    assert journal(tmp_path / "on") == journal(tmp_path / "straight")


@BOTH
def test_a_member_that_turns_nan_is_replaced_and_named(tmp_path, training):
    callback = keeping(training=training)
    with pytest.warns(UserWarning, match=r"member 2 \(seed 5, beta .*\) are not finite at step 20; it takes over"):
        fit(tmp_path, built(), callback, Break([2], 14), steps=25)
    (row,) = (row for row in journal(tmp_path) if row["reason"] == "not finite")
    assert (row["member"], row["generation"]) == ("2", "1")
    assert row["distortion"] == "nan"
    assert all(value.isfinite().all() for value in callback.last["members"][2]["weights"].values())


def test_a_population_of_which_nobody_is_left_stops_and_keeps_the_checkpoint_before(tmp_path):
    with pytest.raises(NonFiniteError, match="no member of the population has finite"):
        fit(tmp_path, built(), population(), Break(range(4), 14), steps=25, save=True)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_the_front_is_what_its_checkpoints_hold_and_the_run_ends_with_the_chosen_one(tmp_path):
    model = built()
    fit(tmp_path, model, population(front={"choose": "index", "index": 2}), steps=35, save=True)
    front = json.loads((tmp_path / "front.json").read_text())
    assert front["chosen"] == 2
    rates = [member["scores"]["rate"] for member in front["members"]]
    assert rates == sorted(rates)
    for member in front["members"]:
        state = torch.load(tmp_path / member["checkpoint"], weights_only=True)
        assert not state["callbacks"].get("PopulationEvolution")
        assert float(state["state_dict"]["beta"]) == member["genes"]["beta"]
    chosen = torch.load(tmp_path / front["members"][1]["checkpoint"], weights_only=True)["state_dict"]
    assert same(model.state_dict(), chosen)
    assert (tmp_path / "figures" / "population_front.png").stat().st_size > 10_000
    with (tmp_path / "front.csv").open() as file:
        assert len(file.readlines()) == len(rates) + 1
    with pytest.raises(ConfigError, match="not trained on its own"):
        model.training_step(None, 0)


def test_a_member_can_be_picked_and_trained_on(tmp_path):
    fit(tmp_path / "runs" / "a", built(), population(), steps=25)
    front = json.loads((tmp_path / "runs" / "a" / "front.json").read_text())
    chosen = torch.load(tmp_path / "runs" / "a" / front["members"][0]["checkpoint"], weights_only=True)["state_dict"]
    model = built(9)
    callback = population(front={"pick": 1})
    trainer = fit(tmp_path / "runs" / "b", model, callback, steps=1, limit_val_batches=0)
    assert trainer.global_step == 1
    assert not (tmp_path / "runs" / "b" / "front.json").exists()
    moved = max(float((model.state_dict()[name] - value).abs().max()) for name, value in chosen.items())
    assert 0 < moved <= 1.1e-3  # one step of Adam
    assert model.state_dict()["beta"] == chosen["beta"]
    with pytest.raises(ConfigError, match=r"`front.pick` must be 1 to \d"):
        fit(tmp_path / "runs" / "c", built(), population(front={"pick": 99}), steps=1)
    with pytest.raises(ConfigError, match="finds no front.json"):
        fit(tmp_path / "other" / "c", built(), population(front={"pick": 1}), steps=1)


def test_population_based_training_copies_learning_rates_of_the_best(tmp_path):
    rates = {"optimizer.lr": {"low": 1e-5, "high": 1e-2}}
    callback = keeping(members=6, genes=rates, objectives=("nelbo",), interval=15, training="auto")
    fit(tmp_path, built(), callback, steps=75, limit_val_batches=0)
    rows = journal(tmp_path)
    best = [min(float(r["nelbo"]) for r in rows if r["generation"] == str(g)) for g in range(5)]
    assert best[-1] < best[0]
    first = np.median([float(r["optimizer.lr"]) for r in rows if r["generation"] == "0"])
    last = np.median([float(r["optimizer.lr"]) for r in rows if r["generation"] == "4"])
    assert last > 2 * first  # on digits the largest rates are best
    assert callback.extra_compute == pytest.approx(5 + 5 * 6 * 64 / (3 * 75 * 32))


def test_mig_as_an_objective_is_maximised(tmp_path):
    callback = population(members=3, objectives=("nelbo", "mig"))
    fit(tmp_path, built(), callback, steps=15)
    front = json.loads((tmp_path / "front.json").read_text())["members"]
    for member in front:
        assert 0 <= member["scores"]["mig"] <= 1
        assert member["values"] == [member["scores"]["nelbo"], -member["scores"]["mig"]]


class OwnStep(VAE):
    """Says which terms it trains on, but not with which noise."""

    def training_step(self, batch, batch_idx):
        return self.loss(self.trained_terms(self.prepare(batch)))

    def trained_terms(self, images, generator=None):
        return self.elbo_terms(images, generator)


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        (lambda: built(schedule=Annealing(10)), {}, "schedule"),
        (lambda: built(), {"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        (lambda: CapacityVAE(SHAPE, latent_dim=Z, network="mlp"), {}, "on_train_batch_start"),
        (lambda: OwnStep(SHAPE, Z, network="mlp"), {}, "`training_noise`"),
        (lambda: MultiRateVAE(SHAPE, latent_dim=Z, network="mlp"), {}, "one network for all"),
        (
            lambda: built(lr_scheduler=lambda o: torch.optim.lr_scheduler.ConstantLR(o)),
            {},
            "model.lr_scheduler=null",
        ),
        (lambda: VAE(SHAPE, Z, network=(MLPEncoder(SHAPE, Z, (24,)), MLPDecoder(SHAPE, Z, (24,)))), {}, "hyper-par"),
    ],
)
def test_runs_that_cannot_have_a_population_are_refused(tmp_path, model, settings, text):
    with pytest.raises(ConfigError, match=text):
        fit(tmp_path, model(), population(), **settings)


def test_genes_that_the_model_lacks_and_checkpoints_of_others_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="`genes` must name scalar buffers"):
        fit(tmp_path, built(), population(genes={"gamma": {"low": 1, "high": 2}}), steps=5)
    fit(tmp_path / "plain", built(), steps=5, save=True)
    fit(tmp_path / "many", built(), population(), steps=5, save=True)
    plain, many = (str(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "many"))
    with pytest.raises(CheckpointError, match="holds one model and no population"):
        fit(tmp_path / "on", built(), population(), ckpt_path=plain, save=True)
    with pytest.raises(CheckpointError, match="members: stored 4, now 3"):
        fit(tmp_path / "on", built(), population(members=3), ckpt_path=many, save=True)
    with pytest.raises(CheckpointError, match="population_evolution.interval"):
        fit(tmp_path / "on", built(), population(interval=5), ckpt_path=many, save=True)


def test_stacked_that_is_not_possible_is_refused_and_auto_says_why(tmp_path):
    class Dropping(VAE):
        def encode(self, images):
            mean, log_var = super().encode(images)
            return mean, log_var + 0 * torch.rand(())

    def model():
        torch.manual_seed(0)
        return Dropping(SHAPE, Z, network="mlp")

    with pytest.raises(ConfigError, match="draws from torch's global generator"):
        fit(tmp_path, model(), population(training="stacked"), steps=2)
    trainer = fit(tmp_path, model(), population(training="auto"), steps=2, datamodule=DigitsDataModule(batch_size=32))
    assert trainer.global_step == 2


def test_data_order_is_that_of_a_single_process():
    module = data()
    module.setup()
    module.same_batches = True
    loader = module.train_dataloader()
    assert (loader.rank, loader.world_size) == (0, 1)
