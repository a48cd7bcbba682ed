"""BetaEvolution in real Trainers: cost, purity, logging, resume, ranks, errors. Slow: the target on MNIST."""

import csv
import json
import re
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.multiprocessing import ProcessRaisedException
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae.callbacks.beta_evolution import scoring
from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.beta_override import BetaOverride
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.beta.target_kl import Auto
from lightning_gvae.models import VAE
from tests.processes import free_port, join_lightning, start_ranks

SHAPE = (1, 8, 8)
SLEEPER = {"tolerance": 0.9, "convergence": {"window": 2, "std": 50.0}}  # on target and at rest after two generations


def build(model=VAE, dropout=0.0, norm=False, **kwargs):
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 24),
        *([nn.BatchNorm1d(24)] if norm else []),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(24, 8),
    )
    decoder = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 64), nn.Unflatten(1, SHAPE))
    return model(SHAPE, latent_dim=4, network=(encoder, decoder), **kwargs)


def evolution(
    interval=10,
    warmup=10,
    lookahead_steps=2,
    probe_size=64,
    evaluator="lookahead",
    lookahead="auto",
    kl_source="probe",
    **search,
):
    search = BetaSearch(**({"target": 3.0, "seed": 1} | search))
    return BetaEvolution(
        search, interval, warmup, evaluator, lookahead_steps, probe_size, lookahead=lookahead, kl_source=kl_source
    )


def fit(folder, model, callbacks, steps=45, data=None, ckpt_path=None, **kwargs):
    defaults = {"logger": False, "enable_checkpointing": False, "max_epochs": -1, "log_every_n_steps": 5}
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        max_steps=steps,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        **(defaults | kwargs),
    )
    data = (
        {"datamodule": DigitsDataModule(batch_size=64)}
        if data is None
        else {"train_dataloaders": data, "val_dataloaders": data}
    )
    trainer.fit(model, ckpt_path=ckpt_path, weights_only=True, **data)
    return trainer


def rows(folder):
    with (folder / "evolution.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Betas(L.Callback):
    """Beta that each step trained with."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.values.append(float(pl_module.beta))


def same_weights(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_defaults_plan_less_than_a_fifth_of_training():
    for method in ("ga", "random"):
        assert BetaEvolution(BetaSearch(target=19.0, method=method)).planned_extra_compute(128) <= 0.20


def test_planned_extra_compute_by_hand():
    callback = evolution(interval=100, lookahead_steps=5, probe_size=32)
    # 8 candidates of 5 steps and a probe each, and one probe of the weights as they are; training: 100 steps
    assert callback.planned_extra_compute(64) == pytest.approx((8 * (5 * 64 * 3 + 32) + 32) / (100 * 64 * 3))
    assert callback.planned_extra_compute(64, world_size=2) == pytest.approx(
        (8 * (5 * 64 * 3 + 32) + 2 * 32) / (2 * 100 * 64 * 3)
    )
    cheap = evolution(interval=100, probe_size=32, evaluator="first_order")
    assert cheap.planned_extra_compute(64) == pytest.approx((5 * (64 + 32) + 32) / (100 * 64 * 3))


@pytest.mark.parametrize(("evaluator", "search"), [("lookahead", {}), ("lookahead", SLEEPER), ("first_order", {})])
def test_extra_compute_is_what_was_really_computed(tmp_path, evaluator, search):
    spent = {"training": 0, "evolution": 0}

    class Counted(VAE):
        def elbo_terms(self, images, generator=None):
            live = self._trainer is not None
            factor = 3 if live or torch.is_grad_enabled() else 1
            spent["training" if live else "evolution"] += factor * len(images)
            return super().elbo_terms(images, generator)

    callback = evolution(evaluator=evaluator, lookahead="sequential", **search)
    fit(tmp_path, build(Counted), [callback])
    assert callback.training_passes == spent["training"]
    if evaluator == "first_order":
        # its passes with gradient have two backward passes each: 5 instead of 3
        probes = 64 * callback.search.generation
        spent["evolution"] = (spent["evolution"] - probes) * 5 // 3 + probes
    assert callback.evolution_passes == spent["evolution"]
    if not search:
        assert callback.extra_compute <= callback.planned_extra_compute(64)


@pytest.mark.parametrize("evaluator", ["lookahead", "first_order"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_whose_beta_stays_is_the_run_without_evolution(tmp_path, evaluator, precision):
    """Weights, batch statistics, moments and dropout noise: all as if no generation had taken place."""
    states = []
    for callbacks in ([], [evolution(evaluator=evaluator, fitness={"min_improvement": 1e9})]):
        model = build(dropout=0.3, norm=True)
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        # Lightning does not clip for a fused optimiser under mixed precision
        clip = 1.0 if precision == "32-true" else None
        trainer = fit(tmp_path, model, callbacks, precision=precision, gradient_clip_val=clip)
        states.append((model, trainer.optimizers[0].state_dict()["state"], torch.rand(3), np.random.rand()))  # noqa: NPY002
    (plain, moments, noise, draw), (evolved, *others) = states
    assert same_weights(plain, evolved)
    assert str(moments) == str(others[0])
    assert torch.equal(noise, others[1])
    assert draw == others[2]
    assert callbacks[0].search.generation == 4
    assert all(np.isfinite(float(row["D"])) for row in rows(tmp_path))


def test_candidates_trained_together_choose_as_those_trained_one_after_the_other(tmp_path):
    """The same decisions and scores; the model, its moments and all random states as without evolution."""
    tables, states = {}, []
    for name in ("sequential", "batched", "auto"):
        model, betas = build(), Betas()
        fit(tmp_path / name, model, [evolution(lookahead=name, lookahead_steps=5), betas], 75)
        tables[name] = rows(tmp_path / name), betas.values
    assert tables["auto"] == tables["batched"]
    for name in ("batched", "auto"):
        assert len(tables[name][0]) == len(tables["sequential"][0]) == 56
        apart = []
        for one, other in zip(tables["sequential"][0], tables[name][0], strict=True):
            assert (one["beta"], one["chosen"], one["exit"]) == (other["beta"], other["chosen"], other["exit"])
            apart += [abs(float(other[column]) / float(one[column]) - 1) for column in ("D", "R", "fitness")]
        # Under Adam a weight without a history goes a whole step in the direction of its gradient's sign, and that sign
        # may be rounding: a few candidates differ by more than rounding, none by much.
        assert np.quantile(apart, 0.9) < 1e-6
        assert max(apart) < 1e-3
        assert tables[name][1] == tables["sequential"][1]
    assert len(set(tables["batched"][1])) > 3
    for name in (None, "batched", "sequential"):
        model = build()
        torch.manual_seed(5)
        trainer = fit(
            tmp_path / "still", model, [evolution(lookahead=name, fitness={"min_improvement": 1e9})] if name else []
        )
        states.append((model, str(trainer.optimizers[0].state_dict()["state"]), torch.rand(3)))
    for model, moments, noise in states[1:]:
        assert same_weights(states[0][0], model)
        assert states[0][1] == moments
        assert torch.equal(states[0][2], noise)


class Counting(VAE):
    """Changes a buffer in every forward pass of training."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("count", torch.tensor(0))

    def elbo_terms(self, images, generator=None):
        self.count += 1
        return super().elbo_terms(images, generator)


class Reading(VAE):
    """Reads the value of a loss off in Python."""

    def elbo_terms(self, images, generator=None):
        terms = super().elbo_terms(images, generator)
        self.last = float(terms.kl.detach()) if torch.is_grad_enabled() else 0.0
        return terms


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: build(norm=True), "`encoder.2` is a BatchNorm1d, not a linear layer"),
        (lambda: build(dropout=0.3), "`encoder.3` drops units out at random"),
        (lambda: build(Counting), "a forward pass changes the buffer `count`"),
        (lambda: build(Reading), "they do not run together (vmap: It looks like you're calling .item() on a Tensor"),
        (lambda: build(optimizer=torch.optim.Adagrad), "the optimiser is Adagrad"),
    ],
    ids=["batch norm", "dropout", "buffer", "value", "optimiser"],
)
def test_what_stands_in_the_way_of_training_together_is_said(tmp_path, caplog, made, reason):
    with caplog.at_level("INFO"):
        fit(tmp_path / "auto", made(), [evolution()], 25)
    assert caplog.text.count("one after the other") == 1
    assert f"candidates are trained one after the other: {reason}" in caplog.text
    refused = f"`lookahead` 'batched' cannot train these candidates together: {reason}"
    with pytest.raises(ConfigError, match=re.escape(refused)):
        fit(tmp_path / "batched", made(), [evolution(lookahead="batched")], 25)
    caplog.clear()
    with caplog.at_level("INFO"):
        fit(tmp_path / "sequential", made(), [evolution(lookahead="sequential")], 25)
        fit(tmp_path / "plain", build(), [evolution()], 15)
    assert "one after the other" not in caplog.text
    assert rows(tmp_path / "auto") == rows(tmp_path / "sequential") != []


def test_auto_trains_together_what_can_be(tmp_path, monkeypatch):
    ways = []
    for name in ("lookahead", "lookahead_batched"):
        monkeypatch.setattr(scoring, name, lambda *_, name=name: ways.append(name) or np.ones((8, 2)))
    for made in (build(), build(norm=True), build(optimizer=torch.optim.Adagrad)):
        fit(tmp_path, made, [evolution()], 15)
    callback = evolution()  # what stood in the way of one run does not stand in that of the next
    for made in (build(norm=True), build()):
        callback.last_step = None
        fit(tmp_path, made, [callback], 15)
    fit(tmp_path, build(), [evolution()], 15, precision="bf16-mixed")
    assert ways == ["lookahead_batched", "lookahead", "lookahead", "lookahead", "lookahead_batched", "lookahead"]


def test_recorded_of_earlier_versions_is_taken_as_auto(tmp_path):
    with pytest.warns(
        DeprecationWarning, match=r"`lookahead` 'recorded' .*callbacks\.beta_evolution\.lookahead.* 'auto'"
    ):
        old = evolution(lookahead="recorded")
    assert old.lookahead == "auto"
    for name, callback in (("old", old), ("new", evolution())):
        fit(tmp_path / name, build(), [callback], 25)
    assert rows(tmp_path / "old") == rows(tmp_path / "new") != []


def test_generations_come_every_interval_after_the_warmup(tmp_path):
    for warmup, expected in ((0, [0, 10, 20, 30, 40]), (10, [10, 20, 30, 40]), (15, [20, 30, 40])):
        fit(tmp_path, build(), [evolution(warmup=warmup)])
        assert sorted({int(row["step"]) for row in rows(tmp_path)}) == expected


def test_accumulation_counts_optimiser_steps_and_looks_ahead_with_whole_steps(tmp_path, monkeypatch):
    trials = []

    def spy(model_copy, trial, candidates):
        trials.append(trial)
        return np.ones((len(candidates), 2))

    monkeypatch.setattr(scoring, "lookahead", spy)
    callback = evolution(lookahead_steps=3, probe_size=200, lookahead="sequential")
    fit(
        tmp_path, build(), [callback], accumulate_grad_batches=3, gradient_clip_val=0.5, gradient_clip_algorithm="value"
    )
    assert sorted({int(row["step"]) for row in rows(tmp_path)}) == [10, 20, 30, 40]
    assert callback.search.generation == len(trials) == 4
    (images, _), *others = trials[0].steps[0]
    assert [len(trials[0].steps), len(others), len(images)] == [3, 2, 64]
    assert [weight for _, weight in trials[0].probe] == [0.64, 0.36]  # 128 and 72 images
    assert trials[0].clip == Clip(0.5, "value")
    batches = [batch[0] for trial in trials for step in trial.steps for batch in step]
    assert not any(torch.equal(a, b) for i, a in enumerate(batches) for b in batches[:i])
    assert callback.extra_compute <= callback.planned_extra_compute(3 * 64)


def test_beta_is_written_and_recorded(tmp_path):
    betas, callback, model = Betas(), evolution(), build()
    fit(tmp_path, model, [callback, betas])
    chosen = [float(row["beta"]) for row in rows(tmp_path) if row["chosen"] == "1"]
    assert len(chosen) == 4
    assert betas.values == [1.0] * 10 + [beta for beta in chosen for _ in range(10)][:35]
    assert float(model.beta) == chosen[-1] != 1.0
    assert model.beta.dtype == torch.float64
    by_generation = [[row for row in rows(tmp_path) if row["generation"] == str(g)] for g in range(4)]
    for generation in by_generation:
        assert len(generation) == 8
        fitness = [float(row["fitness"]) for row in generation]
        best = next(row for row in generation if row["chosen"] == "1")
        assert float(best["fitness"]) == max(fitness)
        assert best["exit"] == ("retrain" if fitness[0] < max(fitness) else "give_up")
        assert len({row["beta"] for row in generation}) == 8


def test_scalars_reach_loggers_and_callbacks_even_in_short_epochs(tmp_path):
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 11:
                seen.append((dict(trainer.callback_metrics), dict(trainer.logged_metrics)))

    # epochs of 7 steps, a row every 5: no row falls on a generation
    logger = CSVLogger(tmp_path, name="", version="")
    callback = evolution()
    fit(tmp_path, build(), [callback, Look()], steps=45, logger=logger, limit_train_batches=7, log_every_n_steps=6)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = [row for row in rows if row.get("evolution/generation")]
    trained = {row["step"]: float(row["train/beta"]) for row in rows if row.get("train/beta")}
    assert [int(row["step"]) for row in table] == [11, 17, 23, 29, 35, 41]
    assert [float(row["evolution/generation"]) for row in table] == [0, 0, 1, 1, 2, 3]
    names = ["generation", "beta", "kl", "asleep", "best_fitness", "incumbent_fitness", "extra_compute"]
    for row in table:
        assert all(np.isfinite(float(row[f"evolution/{name}"])) for name in names)
        assert float(row["evolution/beta"]) == pytest.approx(trained[row["step"]])
        assert float(row["train/target_kl"]) == 3.0
    for metrics in seen[0]:
        assert {f"evolution/{name}" for name in names} <= set(metrics)


def test_the_population_goes_to_loggers_with_tables(tmp_path):
    tables = []

    class Tables(CSVLogger):
        def log_table(self, key, columns, data):
            tables.append((key, columns, data))

    fit(tmp_path, build(), [evolution()], logger=Tables(tmp_path))
    ((key, columns, data),) = tables
    assert key == "evolution/population"
    assert [dict(zip(columns, map(str, row), strict=True)) for row in data] == rows(tmp_path)


def test_cost_is_announced_and_reported(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(tmp_path, build(), [evolution()])
    text = caplog.text
    assert "8 candidates every 10 steps (lookahead, 2 steps ahead, probe of 64); planned extra compute 190.0 %" in text
    assert "BetaEvolution: 4 generations, extra compute" in text
    assert "% of the wall time" in text


def test_a_beta_set_from_outside_is_adopted_and_told(tmp_path, caplog):
    class SetBeta(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            if trainer.global_step == 25:
                pl_module.beta.fill_(7.25)

    betas = Betas()
    with caplog.at_level("INFO"):
        fit(tmp_path, build(), [evolution(), SetBeta(), betas])
    assert betas.values[25:30] == [7.25] * 5
    first = next(row for row in rows(tmp_path) if row["step"] == "30")
    assert float(first["beta"]) == 7.25
    assert caplog.text.count("was set to (7.25,) from outside") == 1


def test_a_buffer_of_less_precision_is_not_taken_for_an_override(tmp_path, caplog):
    model, callback = build(), evolution()
    model.beta = model.beta.to(torch.float16)
    with caplog.at_level("INFO"):
        fit(tmp_path, model, [callback])
    assert callback.search.generation == 4
    assert "from outside" not in caplog.text


def test_it_sleeps_at_the_cost_of_a_probe(tmp_path):
    callback = evolution(**SLEEPER)
    fit(tmp_path, build(), [callback], steps=75)
    exits = [row["exit"] for row in rows(tmp_path) if row["chosen"] == "1"]
    assert exits[2:] == ["converge", "asleep", "asleep", "asleep", "asleep"]
    asleep = [row for row in rows(tmp_path) if row["exit"] == "asleep"]
    assert len(asleep) == 4
    assert all(row["fitness"] == "" and float(row["R"]) > 0 for row in asleep)
    awake = 8 * (2 * 64 * 3 + 64)
    assert callback.evolution_passes == 2 * awake + 7 * 64


def test_an_auto_target_is_taken_at_the_end_of_the_warmup(tmp_path):
    callback = evolution(target=Auto(0.5), warmup=20)
    fit(tmp_path, build(), [callback])
    reference = callback.search.target.kl
    assert callback.search.target_kl == pytest.approx(0.5 * reference)
    assert callback.scalars["train/target_kl"] == pytest.approx(0.5 * reference)
    assert min(int(row["step"]) for row in rows(tmp_path)) == 20


def test_further_genes_are_buffers_of_the_module(tmp_path):
    class Pulled(VAE):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.register_buffer("pull", torch.tensor(0.5))

        def loss(self, terms, beta=None):
            return super().loss(terms, beta) + self.pull * self.decoder[0].weight.square().sum()

    genes = [Gene("beta", 0.01, 100.0), Gene("pull", 0.0, 1.0, scale="linear")]
    model, callback = build(Pulled), evolution(genes=genes)
    fit(tmp_path, model, [callback])
    assert float(model.pull) != 0.5
    np.testing.assert_allclose([float(model.beta), float(model.pull)], callback.search.genome, rtol=1e-6)
    assert {row["pull"] for row in rows(tmp_path)} > {"0.5"}
    assert callback.scalars["evolution/pull"] == pytest.approx(float(model.pull))
    with pytest.raises(ConfigError, match=r"has no \['pull'\]; it has \['beta', 'free_bits'\]"):
        fit(tmp_path, build(), [evolution(genes=genes)])


def test_a_torch_dataloader_serves_too(tmp_path):
    images = torch.rand(200, *SHAPE)
    loader = DataLoader(TensorDataset(images, torch.zeros(200)), batch_size=25, shuffle=True)
    callback = evolution(lookahead_steps=1)
    fit(tmp_path, build(), [callback], data=loader)
    assert callback.search.generation == 4


def test_the_copy_logs_nothing_and_has_no_trainer(tmp_path):
    copies = []

    class Watched(VAE):
        def log(self, *args, **kwargs):
            assert self._trainer is not None
            return super().log(*args, **kwargs)

        def elbo_terms(self, images, generator=None):
            copies.append(self._trainer is None)
            return super().elbo_terms(images, generator)

    fit(tmp_path, build(Watched), [evolution()])
    assert sum(copies) > 0


@pytest.mark.parametrize("cut", [17, 20, 30, 55], ids=["first interval", "on the boundary", "boundary", "asleep"])
@pytest.mark.parametrize(
    "search",
    [{}, SLEEPER, {"method": "random"}, {"kl_source": "training"}],
    ids=["awake", "sleeper", "random", "KL of training"],
)
def test_a_resumed_run_equals_the_straight_one(tmp_path, cut, search):
    def run(folder, ckpt_path=None):
        saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=cut, save_top_k=-1, save_on_train_epoch_end=False)
        model, callback, betas = build(), evolution(**search), Betas()
        fit(folder, model, [callback, betas, saver], 75, ckpt_path=ckpt_path, enable_checkpointing=True)
        return model, callback, betas.values

    straight, one, path = run(tmp_path / "straight")
    resumed, two, rest = run(tmp_path / "resumed", tmp_path / "straight" / f"step={cut}.ckpt")
    assert rest == path[cut:]
    assert same_weights(straight, resumed)
    assert one.state_dict() == two.state_dict()
    expected = [row for row in rows(tmp_path / "straight") if int(row["step"]) >= cut]
    assert rows(tmp_path / "resumed") == expected
    if search is SLEEPER and cut == 55:
        assert all(row["exit"] == "asleep" for row in expected)
    else:
        assert len(set(path)) > 2
    # a control: another seed is another run
    betas = Betas()
    fit(tmp_path / "other", build(), [evolution(**search, seed=2), betas], 75)
    assert betas.values != path


class TrainingKL(L.Callback):
    """KL of every training batch."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, *args):
        self.values.append(float(outputs["kl"]))


def test_the_kl_of_training_is_the_mean_since_the_last_generation(tmp_path):
    seen = TrainingKL()
    fit(tmp_path / "training", build(), [evolution(kl_source="training"), seen])
    fit(tmp_path / "probe", build(), [evolution()])
    training, probe = rows(tmp_path / "training"), rows(tmp_path / "probe")
    steps = sorted({int(row["step"]) for row in training})
    assert steps == [10, 20, 30, 40]
    first, there = ([row for row in table if row["step"] == "10"] for table in (training, probe))
    # The same candidates on the same probe: all moved by what training saw more, or less, than the probe.
    assert [row["beta"] for row in first] == [row["beta"] for row in there]
    assert [row["D"] for row in first] == [row["D"] for row in there]
    moved = [float(a["R"]) - float(b["R"]) for a, b in zip(first, there, strict=True)]
    assert moved == pytest.approx([moved[0]] * len(moved), abs=1e-9)
    assert abs(moved[0]) > 1e-3
    probed = {}

    class Told(L.Callback):
        """KL that the search was told, by step."""

        def on_train_batch_start(self, trainer, *args):
            if trainer.global_step in steps:
                probed[trainer.global_step] = callback.scalars["evolution/kl"]

    callback = evolution(kl_source="training")
    fit(tmp_path / "again", build(), [callback, Told()])
    for step in steps:
        assert probed[step] == pytest.approx(np.mean(seen.values[max(0, step - 10) : step]), rel=1e-12)


def test_without_a_batch_before_it_a_generation_takes_the_kl_of_its_probe(tmp_path):
    for source in ("training", "probe"):
        fit(tmp_path / source, build(), [evolution(warmup=0, kl_source=source)], 5)
    assert rows(tmp_path / "training") == rows(tmp_path / "probe")


def test_the_kl_of_training_is_needed(tmp_path):
    class Silent(VAE):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)["loss"]

        def trained_terms(self, images, generator=None):
            return self.elbo_terms(images, generator)

    with pytest.raises(
        ConfigError, match="`kl_source` 'training' needs a module whose `training_step` returns its `kl`"
    ):
        fit(tmp_path, build(Silent), [evolution(kl_source="training")])


def test_a_checkpoint_from_before_there_were_sources_goes_on_with_the_probe():
    before, now = evolution(), evolution()
    state = before.state_dict()
    del state["settings"]["kl_source"], state["observed"]
    now.load_state_dict(state)
    with pytest.raises(CheckpointError, match="kl_source: stored 'probe', now 'training'"):
        evolution(kl_source="training").load_state_dict(state)


def checkpoint(folder):
    """A checkpoint of step 25."""

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 25:
                trainer.save_checkpoint(folder / "25.ckpt")

    fit(folder, build(), [evolution(), Save()], 30)
    return folder / "25.ckpt"


def test_a_resume_with_other_settings_is_refused(tmp_path):
    path = checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="other settings: interval: stored 10, now 20"):
        fit(tmp_path, build(), [evolution(interval=20)], ckpt_path=path)
    with pytest.raises(CheckpointError, match="other settings: variation.delta: stored 0.5, now 0.1"):
        fit(tmp_path, build(), [evolution(variation={"delta": 0.1})], ckpt_path=path)


def test_a_resume_with_another_target_is_told_and_steers_to_it(tmp_path, caplog):
    path = checkpoint(tmp_path)
    callback = evolution(target=9.0)
    with caplog.at_level("INFO"):
        fit(tmp_path, build(), [callback], ckpt_path=path)
    assert "the target of the search was {'kind': 'constant', 'value': 3.0}, now" in caplog.text
    assert callback.search.target_kl == 9.0
    assert callback.search.generation == 4


def test_a_resume_with_another_beta_goes_on_from_it(tmp_path, caplog):
    path = checkpoint(tmp_path)
    with caplog.at_level("INFO"):
        fit(tmp_path, build(), [evolution(), BetaOverride(5.5)], ckpt_path=path)
    assert "was set to (5.5,) from outside" in caplog.text
    assert float(rows(tmp_path)[-16]["beta"]) == 5.5


def test_instances_of_different_name_have_states_of_their_own():
    keys = {BetaEvolution(BetaSearch(target=1.0), name=name).state_key for name in ("a", "b")}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": 0}, "`interval` must be an integer of at least 1 .optimiser steps., got 0"),
        ({"warmup": -1}, "`warmup` must be an integer of at least 0 .optimiser steps., got -1"),
        (
            {"lookahead_steps": 0},
            "`lookahead_steps` must be an integer of at least 1 .optimiser steps, or no beta has an",
        ),
        ({"probe_size": 0}, "`probe_size` must be an integer of at least 1 .images., got 0"),
        ({"lookahead": "parallel"}, "`lookahead` must be one of auto, sequential, batched, got 'parallel'"),
        ({"kl_source": "model"}, "`kl_source` must be one of probe, training, got 'model'"),
        ({"evaluator": "oracle"}, "`evaluator` must be one of lookahead, first_order, conditioned, got 'oracle'"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        BetaEvolution(BetaSearch(target=1.0), **arguments)


def test_first_order_is_for_beta_alone():
    search = BetaSearch(target=1.0, genes=[Gene("beta", 0.1, 10.0), Gene("pull", 0.1, 1.0)])
    with pytest.raises(ConfigError, match=r"the gene 'beta' alone, got \['beta', 'pull'\]"):
        BetaEvolution(search, evaluator="first_order")


def test_a_probe_larger_than_the_training_set_is_all_of_it(tmp_path, caplog):
    for size in (1197, 1198):
        with caplog.at_level("INFO"):
            fit(tmp_path / str(size), build(), [evolution(probe_size=size)], 15)
        assert ("`callbacks.beta_evolution.probe_size` 1198 is more than there are" in caplog.text) == (size == 1198)
    assert rows(tmp_path / "1197") == rows(tmp_path / "1198") != []


def test_several_optimisers_are_refused(tmp_path):
    class Two(VAE):
        automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.encoder, self.decoder)]

    with pytest.raises(ConfigError, match="exactly one optimiser, the module has 2"):
        fit(tmp_path, build(Two), [evolution()])


def test_a_loader_without_a_batch_size_is_refused(tmp_path):
    loader = DataLoader(TensorDataset(torch.rand(64, *SHAPE)), batch_size=None)
    with pytest.raises(ConfigError, match="`batch_size`"):
        fit(tmp_path, build(), [evolution()], data=loader)


def test_two_writers_of_beta_are_refused(tmp_path):
    model = build()
    model.claim_beta("Somebody")
    with pytest.raises(ConfigError, match="written by Somebody already, BetaEvolution cannot"):
        fit(tmp_path, model, [evolution()])


class Saboteur(L.Callback):
    """Changes something on the second rank alone."""

    def __init__(self, callback, what):
        self.callback, self.what = callback, what

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == 30 and trainer.global_rank == 1:
            if self.what == "beta":  # later than this step DDP itself would give the buffer of rank 0 to all
                pl_module.beta.fill_(3.0)
            elif self.what == "population":
                self.callback.search.population[0] += 1e-12


def on_two_ranks(rank, port, folder, what):
    join_lightning(rank, port)
    torch.set_num_threads(1)
    callback, betas = evolution(), Betas()
    fit(Path(folder), build(), [callback, Saboteur(callback, what), betas], devices=2, strategy="ddp", steps=45)
    record = {
        "search": callback.search.state_dict(),
        "betas": betas.values,
        "extra": callback.extra_compute,
        "planned": callback.planned_extra_compute(64, 2),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(record))


def test_two_ranks_evolve_the_same(tmp_path):
    start_ranks(on_two_ranks, free_port(), str(tmp_path), "nothing")
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert len(set(first["betas"])) > 2
    assert 0 < first["extra"] <= first["planned"]
    assert {int(row["step"]) for row in rows(tmp_path)} == {10, 20, 30, 40}
    assert len(rows(tmp_path)) == 4 * 8  # one rank writes


@pytest.mark.parametrize("what", ["beta", "population"])
def test_a_rank_that_goes_its_own_way_stops_the_run(tmp_path, what):
    message = re.escape(f"DesyncError: the evolution differs from that of rank 0 on rank 1 ({what}) at generation 2")
    with pytest.raises(ProcessRaisedException, match=message):
        start_ranks(on_two_ranks, free_port(), str(tmp_path), what)
    assert not (tmp_path / "0.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ga", "random"])
@pytest.mark.parametrize("target", [19.0, 10.0])
def test_the_defaults_reach_and_hold_the_target_on_mnist(tmp_path, data_dir, target, method):
    """KL averaged over 100 steps, within 10 % of the target over the second half of 6000 steps."""
    from lightning_gvae.datamodules.mnist import MNISTDataModule

    class Rates(L.Callback):
        def __init__(self):
            self.values = []

        def on_before_backward(self, trainer, pl_module, loss):
            self.values.append(pl_module.last_kl)

    class Traced(VAE):
        def elbo_terms(self, images, generator=None):
            terms = super().elbo_terms(images, generator)
            self.last_kl = float(terms.kl.detach())
            return terms

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28)))
    model = Traced((1, 28, 28), 20, network=(encoder, decoder))
    callback, rates = BetaEvolution(BetaSearch(target=target, method=method)), Rates()
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[callback, rates],
        logger=False,
        enable_checkpointing=False,
        max_steps=6000,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=MNISTDataModule(data_dir / "mnist", batch_size=128))
    held = np.array(rates.values).reshape(-1, 100).mean(1)[30:]
    assert np.abs(held / target - 1).max() < 0.10
    assert callback.extra_compute < 0.20
