"""Schedules that last as long as the run does, be it counted in steps or in epochs."""

import functools

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.schedules import Annealing, Cyclical, cyclical, linear_annealing, over_the_run, set_lengths
from tests.cli.test_train import run_train, same
from tests.endings.test_matrix import BATCHES, RUN, read, table

COSINE = tuple(
    f"model.lr_scheduler.{name}={value}"
    for name, value in {
        "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
        "_partial_": "true",
        "T_max": "null",
    }.items()
)
COSINE = ("model.lr_scheduler={}", *(f"+{text}" for text in COSINE))
ANNEALED = ("model=annealed_vae", "model.schedule.steps=null", "model.schedule.shape=linear")
EVERY = "trainer.log_every_n_steps=1"
END = 2 * BATCHES
# the same length, said in four ways
LENGTHS = {
    "steps": (f"trainer.max_steps={END}",),
    "epochs": ("trainer.max_steps=-1", "trainer.max_epochs=2"),
    "the shorter of both": ("trainer.max_steps=5000", "trainer.max_epochs=2"),
    "-1 for the steps of a run in epochs": (
        *("trainer.max_steps=-1", "trainer.max_epochs=2"),
        "model.schedule.steps=${trainer.max_steps}",
    ),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("model", ["cyclical", "annealed"])
def test_a_schedule_of_the_kl_weight_lasts_as_long_as_the_run(model, length, tmp_path):
    settings = ("model=cyclical_vae",) if model == "cyclical" else ANNEALED
    run_train(tmp_path, *RUN, *settings, EVERY, *LENGTHS[length])
    found = [float(row["train/beta"]) for row in table(tmp_path) if row["train/beta"]]
    expected = [cyclical(step, END) if model == "cyclical" else linear_annealing(step, END) for step in range(END)]
    assert found == pytest.approx(expected)


def test_under_accumulation_the_run_has_fewer_steps(tmp_path):
    run_train(tmp_path, *RUN, *ANNEALED, EVERY, *LENGTHS["epochs"], "trainer.accumulate_grad_batches=4")
    found = [float(row["train/beta"]) for row in table(tmp_path) if row["train/beta"]]
    assert found == pytest.approx([linear_annealing(step, 10) for step in range(10)])  # 18 batches are 5 steps


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
def test_a_run_in_epochs_that_goes_on_equals_the_run_in_one_piece(tmp_path, monkeypatch):
    """The length is asked for when a run starts; asked too early, the loader would forget its place."""
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "tests.endings.")
    settings = (*RUN, *ANNEALED, *COSINE, *LENGTHS["epochs"])
    run_train(tmp_path / "whole", *settings)
    stop = ("+callbacks.stop._target_=tests.endings.stops.AskToStop", "+callbacks.stop.batch=25")
    run_train(tmp_path / "half", *settings, *stop)
    run_train(tmp_path / "rest", *settings, f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt")
    whole, half, rest = (read(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "half", "rest"))
    assert half["global_step"] == 25
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "gvae_random"):
        same(whole[part], rest[part], part)


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_schedule_of_the_learning_rate_lasts_as_long_as_the_run(model, tmp_path):
    run_train(tmp_path, *RUN, f"model={model}", *COSINE, *LENGTHS["epochs"])
    for state in read(tmp_path / "checkpoints/last.ckpt")["lr_schedulers"]:
        assert (state["T_max"], state["last_epoch"]) == (END, END)
        assert state["_last_lr"] == pytest.approx([0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "named"),
    [(("model=cyclical_vae",), "model.schedule.steps"), (COSINE, "model.lr_scheduler.T_max")],
)
def test_a_run_without_an_end_names_the_setting(settings, named, tmp_path):
    endless = ("trainer.max_steps=-1", "+trainer.max_time=00:00:00:05")
    with pytest.raises(ConfigError, match=f"`{named}` is the length of the run.*trainer.max_steps nor"):
        run_train(tmp_path, *RUN, *settings, *endless)


def test_outside_a_run_a_length_must_be_given():
    for schedule in (Cyclical(), Annealing(None), Annealing(-1)):
        with pytest.raises(ConfigError, match="`steps` of .* is that of the run"):
            schedule(0, torch.tensor(1.0))
        schedule.set_run_length(10.0)
        assert schedule.steps == 10
    fixed = Annealing(20)
    fixed.set_run_length(10.0)
    assert fixed.steps == 20
    with pytest.raises(ConfigError, match="`steps` must be positive, got 0"):
        Annealing(0)


def test_other_arguments_of_a_learning_rate_schedule_are_left_alone():
    make = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=7)
    assert over_the_run(make) == (make, [])
    maker = lambda optimizer: None
    assert over_the_run(maker) == (maker, [])
    set_lengths([], [], float("inf"))
