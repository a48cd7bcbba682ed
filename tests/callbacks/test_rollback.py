"""FiniteGuard names the layer, and takes a run back to good weights with a smaller step."""

import lightning as L
import pytest
import torch
from torch import nn

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.errors import ConfigError, NonFiniteError
from lightning_gvae.models import GAN, TCVAE, VAE, VAEGAN, ControlVAE, FactorVAE
from lightning_gvae.training.bad_layer import first_bad_layer
from tests.callbacks.test_guards import SHAPE, fit

BAD = pytest.mark.filterwarnings("ignore:the loss became NaN")


class Poison(L.Callback):
    """Makes a weight NaN before chosen steps; once each, though a step may come again after a roll back."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step in self.steps:
            self.steps.remove(trainer.global_step)
            with torch.no_grad():
                next(pl_module.parameters())[0] = float("nan")


def adam(rate):
    return lambda group: torch.optim.Adam(group, lr=rate)


def rates(trainer):
    return [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]


@BAD
@pytest.mark.parametrize("build", [VAE, ControlVAE, VAEGAN, GAN, FactorVAE])
def test_a_bad_step_is_undone_and_the_run_ends_well(build, tmp_path):
    settings = {"target_kl": 5.0} if build is ControlVAE else {}
    model = build(SHAPE, latent_dim=3, optimizer=adam(1e-3), **settings)
    guard = FiniteGuard(rollback=2, snapshot_every=5)
    with pytest.warns(UserWarning, match="Taken back to the weights of step 10 .1 of 2 times.; learning rate now"):
        trainer = fit(tmp_path, model, [guard, Poison(13)], steps=20)
    assert trainer.global_step == 20 and guard.rollbacks == 1
    assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point())
    expected = [5e-4, 5e-5] if build is FactorVAE else [5e-4] * len(trainer.optimizers)
    assert rates(trainer) == pytest.approx(expected)


@BAD
def test_every_roll_back_shrinks_once_whatever_the_snapshot(tmp_path):
    model = VAE(SHAPE, latent_dim=3, optimizer=adam(8e-3))
    guard = FiniteGuard(rollback=3, shrink=0.5, snapshot_every=5)
    # Two from the same snapshot of step 5, the third from one that was taken after the rate had been shrunk.
    trainer = fit(tmp_path, model, [guard, Poison(6, 8, 17)], steps=20)
    assert guard.rollbacks == 3
    assert rates(trainer) == pytest.approx([1e-3])


@BAD
def test_a_schedule_keeps_its_shape_at_the_smaller_rate(tmp_path):
    model = VAE(SHAPE, latent_dim=3, optimizer=adam(1e-2))
    model._make_scheduler = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    trainer = fit(tmp_path, model, [FiniteGuard(rollback=1, snapshot_every=5), Poison(7)], steps=12)
    assert rates(trainer) == pytest.approx([0.5e-2 / 13])


@BAD
def test_the_last_time_it_stops_and_says_where(tmp_path):
    model = VAE(SHAPE, latent_dim=3)
    with pytest.raises(NonFiniteError, match=r"at optimiser step 9 .*first in the weights .*last.ckpt"):
        fit(tmp_path, model, [FiniteGuard(rollback=1), Poison(5, 9), LastCheckpoint(tmp_path, 4)])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8


@BAD
def test_a_run_that_goes_on_is_taken_back_to_the_same_weights(tmp_path):
    def run(folder, steps, ckpt_path=None):
        model = VAE(SHAPE, latent_dim=3, optimizer=adam(1e-3))
        callbacks = [FiniteGuard(rollback=2, snapshot_every=5), Poison(4, 13), LastCheckpoint(folder, 1000)]
        fit(tmp_path, model, callbacks, steps=steps, ckpt_path=ckpt_path)
        return torch.load(folder / "last.ckpt", weights_only=True)

    torch.manual_seed(0)
    straight = run(tmp_path / "a", 18)
    torch.manual_seed(0)
    run(tmp_path / "b", 12)
    rest = run(tmp_path / "c", 18, tmp_path / "b" / "last.ckpt")
    for name, value in straight["state_dict"].items():
        assert torch.equal(value, rest["state_dict"][name]), name
    (guard,) = (state for key, state in rest["callbacks"].items() if key.startswith("FiniteGuard"))
    assert guard["rollbacks"] == 2


def test_without_rollback_nothing_is_kept(tmp_path):
    guard = FiniteGuard()
    fit(tmp_path, VAE(SHAPE, latent_dim=3), [guard], steps=2)
    assert guard.state_dict() == {} and guard._snapshot is None


class Burst(nn.Module):
    def forward(self, x):
        return x * float("inf")


def test_the_first_bad_place_is_named():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    broken = nn.Sequential(nn.Linear(3, 8), Burst(), nn.Linear(8, 64), nn.Unflatten(1, SHAPE))
    batch = [torch.rand(4, *SHAPE), torch.zeros(4)]
    assert first_bad_layer(VAE(SHAPE, 3, network=(encoder, broken)), batch) == "the output of decoder.1 (Burst)"
    model = VAE(SHAPE, 3)
    state = torch.get_rng_state()
    assert first_bad_layer(model, batch) == "the loss itself: all weights and outputs are finite"
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())
    assert first_bad_layer(model, [batch[0] * float("nan"), batch[1]]) == "the batch itself"
    assert first_bad_layer(model, None).startswith("a layer that is not known any more")
    with torch.no_grad():
        model.decoder.get_parameter(dict(model.decoder.named_parameters()).popitem()[0]).fill_(float("inf"))
    assert first_bad_layer(model, batch).startswith("the weights decoder.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rollback": -1}, "`rollback` must be"),
        ({"shrink": 1.0}, "`shrink` must be a factor between 0 and 1"),
        ({"snapshot_every": 0}, "`snapshot_every` must be"),
        ({"rollback": 1, "interval": 50}, "`interval` must be 1 where bad steps are undone"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        FiniteGuard(**settings)


@BAD
def test_what_evolution_has_written_to_any_weight_of_a_loss_is_not_undone(tmp_path):
    class Evolves(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 12:
                pl_module.gamma.fill_(0.123)

    model = TCVAE(SHAPE, latent_dim=3, optimizer=adam(1e-3))
    guard = FiniteGuard(rollback=2, snapshot_every=5)
    with pytest.warns(UserWarning, match="Taken back to the weights of step 10"):
        fit(tmp_path, model, [guard, Evolves(), Poison(13)], steps=20)
    assert float(model.gamma) == 0.123
