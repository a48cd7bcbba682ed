"""Runs on a device without fp64, such as an Apple GPU: no fp64 tensor gets there, and the KL weight stays exact."""

import pytest
import torch

from lightning_gvae.models import VAE
from lightning_gvae.models.host_buffers import KeepsFloat64
from tests.datamodules.sentences import write_corpus
from tests.devices.ledger import Ledger
from tests.devices.pretend import pretend_device
from tests.devices.runs import Runs
from tests.devices.test_training import (
    ADVERSARIAL,
    AFTER,
    ALIKE,
    DIGITS,
    EVOLVE,
    EVOLVED,
    POINTS,
    TEXTS,
    text_settings,
    waits,
)
from tests.processes import start_ranks

TESTED = ("test=true",)
CHOSEN = ("annealed_vae", "capacity_vae", "control_vae", "dynamic_vae", "evae", "evae_fo", "vae_gan")
BETA = 0.1  # no number of fp32


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretend")
    corpus = write_corpus(folder / "corpus")
    cases = {
        "constant": [*DIGITS, "model=vae", f"model.beta={BETA}", *TESTED],
        "averaged": [*DIGITS, "model=vae", "callbacks=ema"],
        **{name: [*DIGITS, *(ALIKE | EVOLVED | ADVERSARIAL)[name]] for name in CHOSEN},
        "text_evae": [*text_settings(corpus), "model=text_evae", *EVOLVE],
        "transformer": [*text_settings(corpus), *TEXTS["transformer"], *TESTED],
        "solve_vae": list(POINTS),
        **{name: [*DIGITS, *given] for name, given in AFTER.items()},
    }
    return Runs(folder, cases, float64=False)


NAMES = ("constant", "averaged", *CHOSEN, "text_evae", "transformer", "solve_vae", *AFTER)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_runs(runs, name):
    runs.stages(name)


@pytest.mark.parametrize(
    ("name", "count"),
    {"constant": 0, "annealed_vae": 0, "evae": 0, "vae_gan": 0, "control_vae": 1, "dynamic_vae": 3}.items(),
)
def test_only_controllers_wait_in_ordinary_steps(runs, name, count):
    assert set(waits(runs, name, "ordinary")) == {count}


@pytest.mark.parametrize("name", ["constant", "control_vae", "dynamic_vae", "evae"])
def test_checkpoints_hold_what_they_always_held(runs, name):
    stored = runs.checkpoint(name)["state_dict"]
    wide = {key for key, value in stored.items() if value.dtype == torch.float64}
    of_schedule = {"control_vae": {"integral"}, "dynamic_vae": {"beta", "history", "last"}}.get(name, set())
    assert wide == {"beta", *(f"schedule.{key}" for key in of_schedule)}
    assert name != "constant" or stored["beta"].item() == BETA


def kept_on_the_host(rank):
    model = VAE((1, 8, 8), latent_dim=2, network="mlp", beta=BETA)
    before = list(model.state_dict())
    with pretend_device(Ledger(), float64=False) as device:
        for move in (lambda: model.to(device), lambda: model.to(device=device), lambda: model.to(str(device))):
            assert move() is model
            assert (model.beta.device.type, model.beta.dtype) == ("cpu", torch.float64)
            assert next(model.parameters()).device == device
            model.to("cpu")
        model.to(device)
        assert model.loss(model.elbo_terms(torch.rand(3, 1, 8, 8).to(device))).device == device
        assert list(model.state_dict()) == before and model.beta.item() == BETA
        assert isinstance(model, KeepsFloat64)


def test_a_model_that_moves_keeps_its_weight_exact():
    start_ranks(kept_on_the_host, world=1)
