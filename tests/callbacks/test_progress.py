"""The bar counts optimiser steps and closes when a run breaks off."""

import lightning as L
import pytest

from lightning_gvae.callbacks.progress import StepProgress
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.models import VAE


def fit(tmp_path, bar, *callbacks, **kwargs):
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[bar, *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        **kwargs,
    )
    trainer.fit(VAE((1, 8, 8)), datamodule=DigitsDataModule(batch_size=64))
    return trainer


@pytest.mark.parametrize(
    ("kwargs", "steps"),
    [({"max_steps": 23}, 23), ({"max_epochs": 2}, 36), ({"max_steps": 6, "accumulate_grad_batches": 4}, 6)],
)
def test_the_bar_ends_at_the_last_step(kwargs, steps, tmp_path, capsys):
    bar = StepProgress(refresh_rate=1)
    trainer = fit(tmp_path, bar, **kwargs)
    assert trainer.global_step == steps
    assert (bar.bar.n, bar.bar.total) == (steps, steps)
    shown = capsys.readouterr().err
    assert f"{steps}/{steps}" in shown
    assert "elbo=" in shown
    assert "beta=1" in shown


def test_evaluation_has_a_bar_over_batches(tmp_path, capsys):
    bar = StepProgress()
    trainer = fit(tmp_path, bar, max_steps=2)
    trainer.test(datamodule=DigitsDataModule(batch_size=64, eval_batch_size=100), verbose=False, model=VAE((1, 8, 8)))
    assert bar.bar.n == bar.bar.total > 1
    assert "test: 100%" in capsys.readouterr().err


def test_a_run_that_breaks_off_closes_the_bar(tmp_path):
    class Break(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 3:
                raise RuntimeError("broken")

    bar = StepProgress()
    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path, bar, Break(), max_steps=10)
    assert bar.bar.disable


def test_a_disabled_bar_is_silent(tmp_path, capsys):
    bar = StepProgress()
    bar.disable()
    fit(tmp_path, bar, max_steps=5)
    assert "step/s" not in capsys.readouterr().err
