import lightning as L
import pytest

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.compute_budget import ComputeBudget, spent
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.checkpoint import read_checkpoint
from tests.callbacks import FakeVAE, quiet_trainer, train_loader, val_loader


class Spender(L.Callback):
    """Announces that it has computed as much as a quarter of the training."""

    extra_compute = 0.25


@pytest.mark.parametrize(("callbacks", "steps"), [([], 40), ([Spender()], 32), ([Spender(), Spender()], 27)])
def test_what_callbacks_spend_counts_as_steps(tmp_path, callbacks, steps):
    run = quiet_trainer(tmp_path, ComputeBudget(40), *callbacks, LastCheckpoint(tmp_path), max_steps=100, logger=False)
    run.fit(FakeVAE(), train_loader(), val_loader())
    assert run.global_step == steps
    assert 40 <= spent(run) < 41 * 1.5
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == steps


@pytest.mark.parametrize("steps", [0, 1.5, True])
def test_a_budget_that_is_no_count_is_refused(steps):
    with pytest.raises(ConfigError, match=f"`steps` must be an integer of at least 1 .optimiser steps., got {steps}"):
        ComputeBudget(steps)
