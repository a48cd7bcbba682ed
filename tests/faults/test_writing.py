"""Files that are written whole or not at all: checkpoints and metrics.csv."""

import csv
import errno
import os

import pytest
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.errors import CheckpointError
from lightning_gvae.loggers.csv import CsvLog
from lightning_gvae.models import VAE
from lightning_gvae.training.checkpoint_io import WholeCheckpoints
from tests.callbacks.test_guards import SHAPE, fit

GOOD = {"state_dict": {"a": torch.arange(3.0)}}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_disk_that_is_full_keeps_what_was_there(there, moment, tmp_path, monkeypatch):
    path = tmp_path / "folder" / "last.ckpt"
    if there:
        WholeCheckpoints().save_checkpoint(GOOD, path)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"os.{moment}" if moment == "fsync" else "pathlib.Path.replace", full)
    kept = f"the earlier one there is kept, and ckpt_path={path}" if there else "there is no earlier one"
    with pytest.raises(CheckpointError, match=f"No space left on device .*MB needed.*MB free.; {kept}"):
        WholeCheckpoints().save_checkpoint({"state_dict": {}}, path)
    monkeypatch.undo()
    assert [item.name for item in path.parent.iterdir()] == (["last.ckpt"] if there else [])
    if there:
        assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["a"], GOOD["state_dict"]["a"])


def test_a_trainer_with_these_checkpoints_writes_them_whole(tmp_path):
    trainer = fit(tmp_path, VAE(SHAPE), [LastCheckpoint(tmp_path)], steps=1)
    assert isinstance(trainer.strategy.checkpoint_io, WholeCheckpoints)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log(folder, *entries):
    logger = CsvLog(folder)
    for step, metrics in entries:
        logger.log_metrics(metrics, step)
    return logger


def test_rows_are_on_the_disk_as_soon_as_they_are_logged(tmp_path):
    log(tmp_path, (4, {"a": 1.5}))
    assert rows(tmp_path / "metrics.csv") == [{"a": "1.5", "step": "4"}]
    log(tmp_path, (9, {"b": 2}))
    assert rows(tmp_path / "metrics.csv") == [{"a": "1.5", "b": "", "step": "4"}, {"a": "", "b": "2", "step": "9"}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_run_that_goes_on_keeps_the_rows_before_and_repeats_none(tmp_path):
    log(tmp_path, (4, {"a": 1}), (9, {"a": 2, "b": 3}), (14, {"a": 4}))
    with (tmp_path / "metrics.csv").open("ab") as file:
        file.write(b"5,,1")  # torn by a kill
    log(tmp_path, (9, {"a": 2, "b": 3}), (14, {"a": 4}))
    assert [row["step"] for row in rows(tmp_path / "metrics.csv")] == ["4", "9", "14"]
    log(tmp_path, (0, {"a": 7}))  # from the beginning
    assert [row["step"] for row in rows(tmp_path / "metrics.csv")] == ["0"]


def test_a_new_column_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    logger = log(tmp_path, (4, {"a": 1}))
    monkeypatch.setattr("pathlib.Path.replace", lambda *args: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        logger.log_metrics({"b": 1}, 9)
    monkeypatch.undo()
    assert rows(tmp_path / "metrics.csv") == [{"a": "1", "step": "4"}]
