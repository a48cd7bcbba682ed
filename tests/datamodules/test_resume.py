"""A run that is interrupted and resumed sees the images of the uninterrupted run, batch by batch."""

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.errors import CheckpointError

# A resumed run needs no checkpoint callback of its own here.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

STOPS: dict[str, dict[str, Any]] = {
    "max_epochs": {"max_epochs": 3},
    "max_steps": {"max_epochs": -1, "max_steps": 13},
    "both": {"max_epochs": 3, "max_steps": 13},
}
VALIDATION: dict[str, dict[str, Any]] = {
    "every epoch": {},
    "every 2 epochs": {"check_val_every_n_epoch": 2},
    "twice an epoch": {"val_check_interval": 2},
    "every 4 steps": {"val_check_interval": 4, "check_val_every_n_epoch": None},
    "never": {"limit_val_batches": 0},
}


class Numbers(ImageDataModule):
    """30 images that are their own number: 22 to train on, so 5 batches of 4 an epoch."""

    def __init__(self, batch_size=4):
        super().__init__(DataSpec("numbers", (1, 1, 1)), 5, 3, batch_size=batch_size, eval_batch_size=2)

    def load(self):
        numbers = np.arange(30)
        return ImageArrays(numbers.astype(np.uint8).reshape(-1, 1, 1, 1), numbers), None


class Witness(L.LightningModule):
    """Writes down every batch; its only weight depends on all of them and on their order."""

    def __init__(self, folder: Path | None = None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.folder = folder
        self.seen: list[tuple[int, int, list[int]]] = []
        self.validated: list[list[int]] = []
        self.tested: list[list[int]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, batch[1].tolist()))
        return ((self.weight - batch[1].double()) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch[1].tolist())

    def test_step(self, batch, batch_idx):
        self.tested.append(batch[1].tolist())

    def configure_optimizers(self):
        return torch.optim.Adam([self.weight], lr=0.1)

    def on_train_end(self):
        if self.folder is not None:
            torch.save([self.seen, self.validated], self.folder / f"rank{self.global_rank}.pt")


def fit(folder: Path, *, checkpoint=None, resume=None, module=None, model=None, **options) -> Witness:
    model = Witness() if model is None else model
    trainer = L.Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": checkpoint is not None,
            "callbacks": [] if checkpoint is None else [checkpoint],
            "default_root_dir": folder,
            **options,
        }
    )
    trainer.fit(model, datamodule=module or Numbers(), ckpt_path=resume, weights_only=True if resume else None)
    return model


def batches_done(path: Path) -> int:
    loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    return loops["epoch_loop.batch_progress"]["total"]["ready"]


def assert_resumable(folder: Path, checkpoint: ModelCheckpoint, at: set[int] | None = None, **options) -> set[int]:
    """Resume from every checkpoint of a run (or those after ``at`` batches) and compare with the run."""
    whole = fit(folder, checkpoint=checkpoint, **options)
    resumed = set()
    for path in folder.glob("*.ckpt"):
        done = batches_done(path)
        if at is None or done in at:
            rest = fit(folder, resume=path, **options)
            assert rest.seen == whole.seen[done:], path.name
            assert rest.weight.item() == whole.weight.item(), path.name
            resumed.add(done)
    return resumed


def every_step(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)


def every_epoch(folder: Path, at_epoch_end: bool) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, filename="{step}", every_n_epochs=1, save_top_k=-1, save_on_train_epoch_end=at_epoch_end
    )


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("validation", VALIDATION)
def test_resume_from_a_checkpoint_of_a_step(tmp_path, stop, validation):
    at = {2, 5, 8, 10}  # inside epochs 0 and 1, and at their ends
    assert assert_resumable(tmp_path, every_step(tmp_path), at, **STOPS[stop], **VALIDATION[validation]) == at


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("validation", VALIDATION)
def test_resume_from_a_checkpoint_of_an_epoch_s_end(tmp_path, stop, validation):
    checkpoint = every_epoch(tmp_path, at_epoch_end=True)
    assert {5, 10} <= assert_resumable(tmp_path, checkpoint, **STOPS[stop], **VALIDATION[validation])


@pytest.mark.parametrize("stop", STOPS)
def test_resume_from_a_checkpoint_of_a_validation_s_end(tmp_path, stop):
    checkpoint = every_epoch(tmp_path, at_epoch_end=False)
    assert {5, 10} <= assert_resumable(tmp_path, checkpoint, **STOPS[stop])


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("at_epoch_end", [False, True])
def test_resume_when_epochs_are_cut_short(tmp_path, stop, at_epoch_end):
    options = {**STOPS[stop], "limit_train_batches": 3}
    assert assert_resumable(tmp_path / "step", every_step(tmp_path / "step"), {2, 3, 7}, **options) == {2, 3, 7}
    checkpoint = every_epoch(tmp_path / "epoch", at_epoch_end)
    assert {3, 6} <= assert_resumable(tmp_path / "epoch", checkpoint, **options)


def test_resume_when_gradients_are_accumulated(tmp_path):
    # 5 batches an epoch make 3 optimiser steps: 2 + 2 + 1.
    options = {"max_epochs": 3, "accumulate_grad_batches": 2}
    assert {2, 4, 5, 7} <= assert_resumable(tmp_path, every_step(tmp_path), **options)


def test_epochs_differ_and_are_those_of_the_loader(tmp_path):
    seen = fit(tmp_path, max_epochs=3).seen
    module = Numbers()
    module.setup()
    loader = module.train_dataloader()
    expected = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        expected += [(epoch, index, targets.tolist()) for index, (_, targets) in enumerate(loader)]
    assert seen == expected
    assert len({str(batch) for *_, batch in seen}) == 15


def test_validation_sees_its_part_in_order_each_time(tmp_path):
    module = Numbers()
    model = fit(tmp_path, module=module, max_epochs=2)
    batches = [targets.tolist() for _, targets in module.val_dataloader()]
    # Lightning's sanity check takes the first two batches before the first epoch.
    assert model.validated == batches[:2] + batches + batches


def test_testing_sees_the_test_part_in_order(tmp_path):
    model, module = Witness(), Numbers()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    trainer.test(model, datamodule=module, verbose=False)
    assert model.tested == [targets.tolist() for _, targets in module.test_dataloader()]
    assert [len(batch) for batch in model.tested] == [2, 1]


def test_fast_dev_run(tmp_path):
    model = fit(tmp_path, fast_dev_run=2)
    assert len(model.seen) == 2 and len(model.validated) == 2


def test_overfit_batches_repeats_the_same_batches(tmp_path):
    seen = fit(tmp_path, max_epochs=3, overfit_batches=2).seen
    assert [batch for *_, batch in seen[:2]] * 3 == [batch for *_, batch in seen]


def test_resuming_inside_an_epoch_with_another_batch_size_is_refused(tmp_path):
    fit(tmp_path, checkpoint=every_step(tmp_path), max_steps=3, max_epochs=-1)
    with pytest.raises(CheckpointError, match="`batch_size` of the checkpoint's data loader is 4, here it is 2"):
        fit(tmp_path, resume=tmp_path / "step=2.ckpt", module=Numbers(batch_size=2), max_steps=3, max_epochs=-1)


@pytest.mark.slow
def test_two_processes_divide_each_batch_and_resume(tmp_path):
    def run(name: str, **options) -> list[list]:
        (tmp_path / name).mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Witness(tmp_path / name)
            module = Numbers(batch_size=2)
            fit(tmp_path, model=model, module=module, max_epochs=3, devices=2, strategy="ddp_spawn", **options)
        return [torch.load(tmp_path / name / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    alone = fit(tmp_path, max_epochs=3).seen
    whole = run("whole", checkpoint=every_step(tmp_path))
    together = [(*left[:2], left[2] + right[2]) for left, right in zip(whole[0][0], whole[1][0], strict=True)]
    assert together == alone
    rest = run("rest", resume=tmp_path / "step=7.ckpt")
    assert [rank[0] for rank in rest] == [rank[0][7:] for rank in whole]
