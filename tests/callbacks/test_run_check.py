"""What a run is too short for is said before its first step, with the setting's name, and otherwise nothing."""

import re

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.compute_budget import ComputeBudget
from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.callbacks.history import History
from lightning_gvae.callbacks.run_check import RunCheck
from lightning_gvae.callbacks.validation_schedule import ValidationSchedule
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.models import VAE, CapacityVAE, ControlVAE
from lightning_gvae.schedules import Annealing, Cyclical, DynamicController, PIController
from lightning_gvae.training.reach import beyond, last_step, validations_ahead

SHAPE = (1, 8, 8)
BEFORE = "`{}` is"


class Stop(Exception):
    """Before the first step."""


class Halt(L.Callback):
    def __init__(self):
        self.text = None

    def on_train_batch_start(self, *args):
        raise Stop


def said(folder, caplog, callbacks=(), model=None, halt=True, **kwargs):
    """The log before the first step; batches of 64 of 1197 images, so 18 an epoch."""
    caplog.clear()
    torch.manual_seed(0)
    defaults = {"max_steps": 30, "max_epochs": -1, "log_every_n_steps": 5, "limit_val_batches": 0}
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[RunCheck(), *callbacks, *([Halt()] if halt else [])],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        default_root_dir=folder,
        num_sanity_val_steps=0,
        **(defaults | kwargs),
    )
    model = VAE(SHAPE, 2, network="mlp") if model is None else model
    with caplog.at_level("INFO"):
        if halt:
            with pytest.raises(Stop):
                trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
        else:
            trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    return caplog.text


def steps():
    """Validations count optimiser steps."""
    return [ValidationSchedule()]


VALIDATES = {"limit_val_batches": 1, "check_val_every_n_epoch": None}


@pytest.mark.parametrize(
    ("setting", "make", "kwargs", "spoken"),
    [
        ("trainer.log_every_n_steps", list, {"log_every_n_steps": 31}, True),
        ("trainer.log_every_n_steps", list, {"log_every_n_steps": 30}, False),
        ("trainer.val_check_interval", list, VALIDATES | {"val_check_interval": 31}, True),
        ("trainer.val_check_interval", list, VALIDATES | {"val_check_interval": 30}, False),
        (
            "trainer.val_check_interval",
            list,
            VALIDATES | {"val_check_interval": 60, "accumulate_grad_batches": 2},
            False,
        ),
        (
            "trainer.val_check_interval",
            steps,
            VALIDATES | {"val_check_interval": 31, "accumulate_grad_batches": 2},
            True,
        ),
        (
            "trainer.val_check_interval",
            steps,
            VALIDATES | {"val_check_interval": 30, "accumulate_grad_batches": 2},
            False,
        ),
        ("trainer.check_val_every_n_epoch", list, {"limit_val_batches": 1, "check_val_every_n_epoch": 2}, True),
        ("trainer.check_val_every_n_epoch", list, {"limit_val_batches": 1, "check_val_every_n_epoch": 1}, False),
        ("callbacks.last_checkpoint.every_n_train_steps", lambda: [LastCheckpoint(None, 31)], {}, True),
        ("callbacks.last_checkpoint.every_n_train_steps", lambda: [LastCheckpoint(None, 30)], {}, False),
        ("callbacks.compute_budget.steps", lambda: [ComputeBudget(31)], {}, True),
        ("callbacks.compute_budget.steps", lambda: [ComputeBudget(30)], {}, False),
        ("callbacks.finite_guard.interval", lambda: [FiniteGuard(31)], {}, True),
        ("callbacks.finite_guard.interval", lambda: [FiniteGuard()], {}, False),
        (
            "callbacks.figures.every_n_validations",
            lambda: [History(), Figures(every_n_validations=3)],
            VALIDATES | {"val_check_interval": 15},
            True,
        ),
        (
            "callbacks.figures.every_n_validations",
            lambda: [History(), Figures(every_n_validations=2)],
            VALIDATES | {"val_check_interval": 15},
            False,
        ),
        # in epochs: 2 x 18 steps
        (
            "callbacks.last_checkpoint.every_n_train_steps",
            lambda: [LastCheckpoint(None, 37)],
            {"max_steps": -1, "max_epochs": 2},
            True,
        ),
        (
            "callbacks.last_checkpoint.every_n_train_steps",
            lambda: [LastCheckpoint(None, 36)],
            {"max_steps": -1, "max_epochs": 2},
            False,
        ),
        ("trainer.log_every_n_steps", list, {"max_steps": -1, "max_epochs": -1, "log_every_n_steps": 10**6}, False),
    ],
)
def test_an_interval_beyond_the_run_is_said(tmp_path, caplog, setting, make, kwargs, spoken):
    text = said(tmp_path, caplog, make(), **kwargs)
    assert (BEFORE.format(setting) in text) == spoken
    if not spoken:
        assert not re.search(r"`[a-z_.]+` is [0-9.]+, but the run has", text)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"check_val_every_n_epoch": None, "val_check_interval": 7}, 30 // 7),
        ({"check_val_every_n_epoch": 1}, 1),
        ({"check_val_every_n_epoch": 1, "val_check_interval": 0.5}, 3),
        ({"check_val_every_n_epoch": 2}, 0),
        ({"check_val_every_n_epoch": 2, "max_steps": 72}, 2),
    ],
)
def test_validations_are_counted_as_lightning_makes_them(tmp_path, kwargs, expected):
    made = []

    class Count(L.Callback):
        def on_train_start(self, trainer, pl_module):
            made.append(validations_ahead(trainer, last_step(trainer)))
            made.append(0)

        def on_validation_end(self, trainer, pl_module):
            made[1] += 1

    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[Count()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        **({"max_steps": 30, "max_epochs": -1} | kwargs),
    )
    trainer.fit(VAE(SHAPE, 2, network="mlp"), datamodule=DigitsDataModule(batch_size=64))
    assert made == [expected, expected]


@pytest.mark.parametrize(
    ("schedule", "end", "expected"),
    [
        (Annealing(100), 50, r"`model.schedule.steps` of Annealing is 100, .* step 50: beta will be 0.49 then, not 1"),
        (Annealing(100, "sigmoid"), 50, "beta will be 0.475 then"),
        (Annealing(100), 100, None),
        (Cyclical(100), 60, r"`model.schedule.steps` of Cyclical is 100, .* step 60, in cycle 3 of 4"),
        (Cyclical(100), 100, None),
        (PIController(19.0), 10, None),
        (
            PIController(19.0, ramp_start=1.0, ramp_increment=1.0, ramp_period=10),
            100,
            "10 .* set-point to 10 nats .*19",
        ),
        (PIController(19.0, ramp_start=1.0, ramp_increment=1.0, ramp_period=10), 181, None),
        (DynamicController(19.0, ramp_start=1.0, ramp_period=10), 100, "of DynamicController take"),
        (Annealing(100), float("inf"), None),
        (PIController(19.0, ramp_start=1.0), float("inf"), None),
    ],
)
def test_a_schedule_says_what_it_does_not_get_to(schedule, end, expected):
    found = schedule.unfinished(end)
    assert found is None if expected is None else re.search(expected, found)


@pytest.mark.parametrize(
    ("kl", "beta", "expected"),
    [
        (6.1, 0.0, "KL 6.1 of `target_kl` 19 nats, beta 0 at its bound"),
        (40.0, 100.0, "beta 100 at its bound"),
        (25.0, 3.0, "beta 3 within its bounds 0 and 100"),
        (20.0, 3.0, None),
    ],
)
def test_a_controller_says_what_it_did_not_reach(kl, beta, expected):
    found = PIController(19.0).missed(100, kl, beta)
    assert found is None if expected is None else expected in found
    assert Annealing(10).missed(100, kl, beta) is None


def test_a_run_says_both(tmp_path, caplog):
    model = VAE(SHAPE, 2, network="mlp", schedule=Annealing(31))
    assert "KL weight: `model.schedule.steps` of Annealing is 31" in said(tmp_path, caplog, model=model)
    model = CapacityVAE(SHAPE, 25.0, 31, latent_dim=2, network="mlp")
    assert "KL weight: `model.capacity_steps` is 31" in said(tmp_path, caplog, model=model)
    model = CapacityVAE(SHAPE, 25.0, 30, latent_dim=2, network="mlp")
    assert "capacity_steps" not in said(tmp_path, caplog, model=model)
    text = said(tmp_path, caplog, model=ControlVAE(SHAPE, 500.0, latent_dim=2, network="mlp"), halt=False)
    assert re.search(r"KL weight: the target was not reached: KL [0-9.]+ of `target_kl` 500 nats, beta 0", text)


def test_a_run_that_is_validated_at_its_end_says_so(tmp_path, caplog):
    text = said(tmp_path, caplog, steps(), **VALIDATES, val_check_interval=1000)
    assert (
        "`trainer.val_check_interval` is 1000, but the run has 30 optimiser steps: it is validated once, when" in text
    )


def test_what_there_is_enough_of_is_not_mentioned():
    assert beyond([("a", 3, 3, "x", ""), ("b", None, 0, "x", ""), ("c", 4, 3, "x", "y")]) == [
        "`c` is 4, but the run has 3 x: y"
    ]
