"""Where training goes on after a checkpoint that the last batch of an epoch has left."""

import lightning as L
import pytest

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.io.checkpoint import read_checkpoint
from tests.callbacks import FakeVAE, quiet_trainer, train_loader, val_loader
from tests.cli.test_train import same


class Hooks(L.Callback):
    """Notes every epoch that starts and ends, with the step."""

    def __init__(self):
        self.seen = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.seen.append(("start", trainer.current_epoch, trainer.global_step))

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append(("end", trainer.current_epoch, trainer.global_step))


def fit(folder, steps, ckpt=None):
    """Train up to ``steps``; the hooks called, and the counts of epochs at the end."""
    hooks = Hooks()
    trainer = quiet_trainer(
        folder, hooks, LastCheckpoint(folder), max_steps=steps, check_val_every_n_epoch=99, logger=False
    )
    trainer.fit(FakeVAE(), train_loader(), val_loader(), ckpt_path=ckpt, weights_only=True)
    return hooks.seen, trainer.fit_loop.epoch_progress.state_dict()


@pytest.mark.parametrize("epochs", [1, 2])
def test_after_the_last_batch_of_an_epoch_the_next_one_starts(tmp_path, epochs):
    batches = len(train_loader())
    straight, counts = fit(tmp_path / "whole", 4 * batches)
    fit(tmp_path, epochs * batches)
    resumed, resumed_counts = fit(tmp_path, 4 * batches, tmp_path / "last.ckpt")
    assert resumed == straight[2 * epochs :]
    assert resumed_counts == counts


def test_a_second_resumption_goes_on_within_its_epoch(tmp_path):
    batches = len(train_loader())
    _, counts = fit(tmp_path / "whole", 4 * batches)
    fit(tmp_path, batches)
    fit(tmp_path, 2 * batches - 1, tmp_path / "last.ckpt")
    resumed, resumed_counts = fit(tmp_path, 4 * batches, tmp_path / "last.ckpt")
    assert resumed[0] == ("end", 1, 2 * batches)
    assert resumed_counts == counts


def test_a_run_with_nothing_left_to_train_has_its_checkpoint_too(tmp_path):
    fit(tmp_path / "first", 10)
    seen, _ = fit(tmp_path / "second", 10, tmp_path / "first/last.ckpt")
    assert seen == []
    first, second = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("first", "second"))
    for part in ("state_dict", "optimizer_states", "loops", "global_step"):
        same(first[part], second[part], part)


def test_a_step_with_a_validation_is_saved_once_that_is_over(tmp_path):
    """Killed during the validation, a run would go on after it, and never know what it had found."""
    found = []

    class Look(L.Callback):
        def on_validation_start(self, trainer, pl_module):
            path = tmp_path / "last.ckpt"
            found.append((trainer.global_step, read_checkpoint(path)["global_step"] if path.exists() else None))

    saver = LastCheckpoint(tmp_path, every_n_train_steps=4)
    settings = {
        "max_steps": 18,
        "val_check_interval": 6,
        "check_val_every_n_epoch": None,
        "logger": False,
        "num_sanity_val_steps": 0,
    }
    quiet_trainer(tmp_path, Look(), saver, **settings).fit(FakeVAE(), train_loader(), val_loader())
    assert found == [(6, 4), (12, 8), (18, 16)]
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 18
