"""FiniteGuard, ExactResume, LastCheckpoint, BetaOverride, Evaluation and RunConfig in real Trainers."""

import random
import re

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from lightning_gvae.callbacks.beta_override import BetaOverride
from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.evaluation import Evaluation
from lightning_gvae.callbacks.exact_resume import ExactResume, random_state, set_random_state
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.callbacks.run_config import RunConfig
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.models import VAE, ControlVAE
from lightning_gvae.rng import torch_stream

SHAPE = (1, 8, 8)


def fit(tmp_path, model, callbacks, steps=20, ckpt_path=None, **kwargs):
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        val_check_interval=10,
        check_val_every_n_epoch=None,
        max_epochs=-1,
        **({"max_steps": steps} | kwargs),
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64), ckpt_path=ckpt_path, weights_only=True)
    return trainer


class PoisonAt(VAE):
    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        if self.global_step == 13:
            output["loss"] = output["loss"] * float("nan")
        return output


def test_nan_loss_stops_with_step_beta_and_rate_and_keeps_the_last_good_checkpoint(tmp_path):
    model = PoisonAt(SHAPE, latent_dim=3, beta=2.5, optimizer=lambda group: torch.optim.Adam(group, lr=3e-3))
    with pytest.raises(NonFiniteError) as caught:
        fit(tmp_path, model, [FiniteGuard(), LastCheckpoint(tmp_path, every_n_train_steps=6)])
    message = str(caught.value)
    assert "the loss became NaN or infinite at optimiser step 13 (beta 2.5, learning rate 0.003)" in message
    assert str(tmp_path / "last.ckpt") in message
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 12
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    # the bad step itself was not taken either
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_with_an_interval_a_bad_step_is_still_named_and_never_saved(tmp_path):
    # As on an accelerator: nothing is read back at every step, the checkpoint at step 18 comes before the look at 1000.
    model = PoisonAt(SHAPE, latent_dim=3)
    with pytest.raises(NonFiniteError, match="at optimiser step 13 "):
        fit(tmp_path, model, [FiniteGuard(interval=1000), LastCheckpoint(tmp_path, every_n_train_steps=6)])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 12
    with pytest.raises(NonFiniteError, match="at optimiser step 13 "):
        fit(tmp_path, PoisonAt(SHAPE, latent_dim=3), [FiniteGuard(interval=5)])
    with pytest.raises(ConfigError, match="`interval` must be at least 1"):
        FiniteGuard(interval=0)


def test_the_interval_of_last_checkpoints_and_the_final_step(tmp_path):
    class Spy(L.Callback):
        steps = []  # noqa: RUF012

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            self.steps.append(trainer.global_step)

    fit(tmp_path, VAE(SHAPE), [Spy(), LastCheckpoint(tmp_path, every_n_train_steps=8)], steps=20)
    assert Spy.steps == [8, 16, 20]  # the last after its validation
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]


def test_random_states_round_trip():
    state = random_state()
    draw = lambda: (random.random(), random.gauss(0, 1), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    first = draw()
    set_random_state(state)
    assert draw() == first


def dropout_model():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 6))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.2), nn.Unflatten(1, SHAPE))
    return VAE(SHAPE, latent_dim=3, network=(encoder, decoder))


def test_layers_that_use_the_global_generator_resume_exactly_with_the_callback_and_only_with_it(tmp_path):
    def run(callbacks):
        straight = dropout_model()
        torch.manual_seed(7)
        fit(tmp_path / "a", straight, [*callbacks(), LastCheckpoint(tmp_path / "a")], steps=27)
        half = dropout_model()
        torch.manual_seed(7)
        fit(tmp_path / "b", half, [*callbacks(), LastCheckpoint(tmp_path / "b")], steps=13)
        resumed = dropout_model()
        torch.manual_seed(999)  # a new process would start anywhere
        last = LastCheckpoint(tmp_path / "c")
        fit(tmp_path / "c", resumed, [*callbacks(), last], steps=27, ckpt_path=tmp_path / "b" / "last.ckpt")
        return all(
            torch.equal(a, b)
            for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True)
        )

    assert run(lambda: [ExactResume()])
    assert not run(list)


def test_a_checkpoint_of_another_number_of_ranks_is_refused(tmp_path):
    trainer = fit(tmp_path, VAE(SHAPE), [], steps=1)
    with pytest.raises(CheckpointError, match=r"written by 2 process\(es\) and this run has 1.*trainer.devices=2"):
        ExactResume().on_load_checkpoint(trainer, trainer.lightning_module, {"gvae_random": [{}, {}]})


def test_an_explicit_beta_beats_the_checkpoint(tmp_path):
    fit(tmp_path, VAE(SHAPE, beta=4.0), [LastCheckpoint(tmp_path)], steps=3)
    resumed = VAE(SHAPE, beta=1.0)
    other = LastCheckpoint(tmp_path / "other")
    fit(tmp_path, resumed, [other], steps=5, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.beta == 4  # the checkpoint beats the configuration
    fit(tmp_path, resumed, [other, BetaOverride(2.0)], steps=5, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.beta == 2  # the command line beats the checkpoint


def test_an_override_that_would_be_overwritten_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`beta=2` has no effect: PIController computes beta at every step"):
        fit(tmp_path, ControlVAE(SHAPE, target_kl=5.0), [BetaOverride(2.0)], steps=2)
    for wrong in (-2.0, True, "4", {"a": 1}, float("nan")):
        with pytest.raises(ConfigError, match=f"must be a KL weight of 0 or more, got {re.escape(str(wrong))}"):
            BetaOverride(wrong)


def test_active_units_counts_the_dimensions_that_move(tmp_path):
    class Coder(nn.Module):
        """Dimension 0 varies with the image, 1 by less than the threshold, 2 is constant."""

        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            brightness = x.mean((1, 2, 3))
            spread = brightness / 0.04  # its standard deviation over the digits is near 0.04
            mean = torch.stack([spread, 0.05 * spread, torch.ones_like(spread)], 1)
            return torch.cat([mean + 0 * self.unused, torch.zeros_like(mean)], 1)

    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, SHAPE))
    model = VAE(SHAPE, latent_dim=3, network=(Coder(), decoder))
    trainer = fit(tmp_path, model, [Evaluation()], steps=10)
    assert trainer.callback_metrics["val/active_units"] == 1
    results = trainer.test(model, datamodule=DigitsDataModule(batch_size=64), verbose=False)
    assert results[0]["test/active_units"] == 1


def test_active_units_metric_agrees_with_numpy():
    from lightning_gvae.metrics.active_units import ActiveUnits

    means = torch.randn(1000, 5, generator=torch_stream(0, "m")) * torch.tensor([1.0, 0.2, 0.11, 0.09, 0.0]) + 100
    metric = ActiveUnits(5)
    for chunk in means.split(170):
        metric.update(chunk)
    expected = means.double().numpy().var(0)
    np.testing.assert_allclose(metric.variances().numpy(), expected, atol=1e-9)
    assert metric.compute() == (expected >= 0.01).sum() == 3


def test_configuration_travels_in_the_checkpoint(tmp_path):
    fit(tmp_path, VAE(SHAPE), [RunConfig({"model": {"beta": 1.0}}), LastCheckpoint(tmp_path)], steps=2)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["gvae_config"] == {"model": {"beta": 1.0}}
