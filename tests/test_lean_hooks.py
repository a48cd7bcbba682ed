"""Callbacks see what they see without it, in the same order; those without a hook are not called."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.trainer import call

from lightning_gvae import lean_hooks as module
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.lean_hooks import NAME, lean_hooks, leave_out_idle_callbacks
from lightning_gvae.models import VAE
from lightning_gvae.no_profiler import NoProfiler

HOOKS = [name for name in vars(L.Callback) if name.startswith("on_") and "checkpoint" not in name]


@pytest.fixture
def theirs(monkeypatch):
    """Lightning's own function, put back afterwards."""
    function = getattr(call, NAME)
    function = getattr(function, "__wrapped__", function)
    monkeypatch.setattr(call, NAME, function)
    return function


def recorder(name, seen, hooks, kind=L.Callback):
    """A callback that notes the calls of some hooks and, if it monitors, does its own work too."""

    def noting(hook):
        def note(self, trainer, pl_module, *args, **kwargs):
            seen.append((name, hook, pl_module._current_fx_name, len(args), sorted(kwargs)))
            return getattr(kind, hook)(self, trainer, pl_module, *args, **kwargs)

        return note

    return type(name, (kind,), {hook: noting(hook) for hook in hooks})


def run(folder, profiler):
    seen = []
    parts = [HOOKS, HOOKS[::2], ["on_train_batch_end"], []]
    callbacks = [recorder(f"C{number}", seen, hooks)() for number, hooks in enumerate(parts)]
    stopper = recorder("Stopper", seen, ["on_validation_end", "on_train_epoch_end"], EarlyStopping)
    saver = recorder("Saver", seen, ["on_train_batch_end", "on_validation_end"], ModelCheckpoint)
    bound = L.Callback()  # a hook of the object alone
    bound.on_train_start = lambda trainer, pl_module: seen.append(("bound", "on_train_start"))
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=4, network="mlp")
    trainer = L.Trainer(
        accelerator="cpu", max_steps=25, max_epochs=-1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, profiler=profiler, val_check_interval=10,
        callbacks=[saver(folder), *callbacks, stopper("val/loss", patience=9), bound, ExactResume()],
    )  # fmt: skip
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    trainer.test(model, datamodule=DigitsDataModule(batch_size=64), verbose=False)
    return seen, torch.cat([weight.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("profiler", [NoProfiler, SimpleProfiler])
def test_callbacks_are_called_as_lightning_calls_them(theirs, tmp_path, profiler):
    wanted, weights = run(tmp_path / "theirs", profiler())
    assert lean_hooks()
    assert getattr(call, NAME) is not theirs
    found, same = run(tmp_path / "ours", profiler())
    assert found == wanted
    assert torch.equal(weights, same)
    assert {hook for _, hook, *_ in found} >= {"on_train_start", "on_test_batch_end", "on_before_zero_grad"}
    assert ("bound", "on_train_start") in found


def test_a_hook_that_does_nothing_is_not_called(theirs, monkeypatch):
    class Idle(L.Callback):
        @property
        def state_key(self):
            raise AssertionError("asked for the label of a hook that it has not")

    trainer = type("Trainer", (), {})()
    trainer.profiler, trainer.lightning_module, trainer.callbacks = NoProfiler(), None, [Idle()]
    lean, called = leave_out_idle_callbacks(theirs), []
    lean(trainer, "on_fit_start")
    with pytest.raises(AssertionError, match="asked for the label"):
        theirs(trainer, "on_fit_start")
    monkeypatch.setattr(Idle, "on_fit_start", lambda *args: called.append(args), raising=False)
    lean(trainer, "on_fit_start")
    assert len(called) == 1  # of a class that got its hook later


def test_it_is_done_once_and_not_to_another_lightning(theirs, monkeypatch):
    assert lean_hooks()
    ours = getattr(call, NAME)
    assert lean_hooks()
    assert getattr(call, NAME) is ours
    monkeypatch.setattr(call, NAME, lambda trainer, hook_name: None)
    other = getattr(call, NAME)
    assert not lean_hooks()
    assert getattr(call, NAME) is other
    monkeypatch.delattr(module.call, NAME)
    assert not lean_hooks()
