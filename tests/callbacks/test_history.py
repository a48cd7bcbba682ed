import csv
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_gvae.callbacks.history import History
from tests.callbacks import FakeVAE, quiet_trainer, train_loader, val_loader

Rows = dict[str, list[tuple[int, float]]]


class Plain(FakeVAE):
    """No dropout: its mask comes from the global generator, which a resume does not restore."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)


def trainer(folder: Path, *callbacks: L.Callback, **kwargs: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "log_every_n_steps": 2,
        "logger": CSVLogger(folder, name="", version=""),
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    }
    return quiet_trainer(folder, *callbacks, **settings | kwargs)


def fit(run: L.Trainer, model: L.LightningModule, **kwargs: Any) -> None:
    run.fit(model, train_loader(), val_loader(), **kwargs)


def checkpoints(folder: Path, every: int) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=every, save_top_k=-1)


def rows(history: History) -> Rows:
    series = {name: history.series(name) for name in history.names}
    return {name: list(zip(steps.tolist(), values.tolist(), strict=True)) for name, (steps, values) in series.items()}


def csv_rows(folder: Path) -> Rows:
    found: Rows = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch"):
                    found.setdefault(name, []).append((int(row["step"]), float(text)))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_every_n_steps": 3},
        {"accumulate_grad_batches": 2, "log_every_n_steps": 1},
        {"val_check_interval": 3},
        {"check_val_every_n_epoch": 2},
        {"fast_dev_run": False, "num_sanity_val_steps": 0},
    ],
)
def test_it_holds_what_the_csv_logger_wrote(tmp_path: Path, settings: dict[str, Any]) -> None:
    class EpochMeans(FakeVAE):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("train/both", loss, on_step=True, on_epoch=True)
            return loss

    history = History()
    fit(trainer(tmp_path, history, **settings), EpochMeans())
    expected = csv_rows(tmp_path)
    assert {"train/beta", "kl/2", "val/elbo", "train/both_step", "train/both_epoch"} <= set(expected)
    assert rows(history) == expected


def test_a_value_logged_once_is_kept_once(tmp_path: Path) -> None:
    class Rare(FakeVAE):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step in (5, 12):
                self.log("evolution/generation", torch.tensor(7.0))

    history = History()
    fit(trainer(tmp_path, history, max_epochs=2, log_every_n_steps=1), Rare())
    assert rows(history)["evolution/generation"] == [(5, 7.0), (12, 7.0)]
    assert len(csv_rows(tmp_path)["evolution/generation"]) > 2


def test_an_equal_value_logged_again_is_a_new_row(tmp_path: Path) -> None:
    history = History()
    fit(trainer(tmp_path, history, max_epochs=1), FakeVAE())
    assert rows(history)["train/beta"] == [(1, 0.5), (3, 0.5), (5, 0.5), (7, 0.5)]


def test_all_validation_loaders_are_kept(tmp_path: Path) -> None:
    class Two(FakeVAE):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx)

    history = History()
    trainer(tmp_path, history, max_epochs=1).fit(Two(), train_loader(), [val_loader(), val_loader(20)])
    expected = csv_rows(tmp_path)
    for index in range(2):
        name = f"val/elbo/dataloader_idx_{index}"
        assert rows(history)[name] == expected[name]


@pytest.mark.parametrize("saved", [3, 4, 5, 21])
def test_resumed_in_an_epoch_equals_uninterrupted(tmp_path: Path, saved: int) -> None:
    keeper = {"filename": "{step}", "every_n_train_steps": saved}
    stored, resumed, whole = interrupted(tmp_path, keeper, f"step={saved}.ckpt", max_steps=saved)
    assert stored["train/kl"] == [row for row in whole["train/kl"] if row[0] < saved]
    assert all(step < saved for series in stored.values() for step, _ in series)
    assert resumed == whole


@pytest.mark.parametrize("epochs", [1, 2])
def test_resumed_after_a_validation_equals_uninterrupted(tmp_path: Path, epochs: int) -> None:
    keeper = {"filename": "{epoch}", "every_n_epochs": 1, "save_on_train_epoch_end": False}
    stored, resumed, whole = interrupted(tmp_path, keeper, f"epoch={epochs - 1}.ckpt", max_epochs=epochs)
    assert stored["val/elbo"] == whole["val/elbo"][:epochs]
    assert all(step < 8 * epochs for series in stored.values() for step, _ in series)
    assert resumed == whole


def test_resumed_between_the_last_batch_and_its_validation(tmp_path: Path) -> None:
    keeper = {"filename": "{step}", "every_n_train_steps": 8}
    _, resumed, whole = interrupted(tmp_path, keeper, "step=8.ckpt", max_steps=8)
    # Lightning does not make up for this validation, so there is nothing to keep.
    assert resumed["val/elbo"] == whole["val/elbo"][1:]
    assert resumed["train/kl"] == whole["train/kl"]


def interrupted(folder: Path, keeper: dict[str, Any], saved: str, **limit: int) -> tuple[Rows, Rows, Rows]:
    """Rows in the checkpoint, rows of the run resumed from it, rows of the run that was never interrupted."""
    straight, first, second = History(), History(), History()
    fit(trainer(folder / "straight", straight), Plain())
    fit(trainer(folder / "first", first, ModelCheckpoint(folder, save_top_k=-1, **keeper), **limit), Plain())
    stored = History()
    stored.load_state_dict(torch.load(folder / saved, weights_only=True)["callbacks"]["History"])
    run = trainer(folder / "second", second, ModelCheckpoint(folder, save_top_k=-1, **keeper))
    fit(run, Plain(), ckpt_path=folder / saved, weights_only=True)
    return rows(stored), rows(second), rows(straight)


def test_a_new_run_starts_anew_and_a_continued_one_goes_on(tmp_path: Path) -> None:
    history, model = History(), FakeVAE()
    run = trainer(tmp_path / "a", history, max_epochs=1)
    fit(run, model)
    run.fit_loop.max_epochs = 2
    fit(run, model)
    assert history.series("train/kl")[0].tolist() == list(range(1, 16, 2))
    fit(trainer(tmp_path / "b", history, max_epochs=1), FakeVAE())
    assert history.series("train/kl")[0].tolist() == [1, 3, 5, 7]


def test_evaluating_a_checkpoint_after_a_fit_changes_nothing(tmp_path: Path) -> None:
    history, model = History(), FakeVAE()
    run = trainer(tmp_path, history, checkpoints(tmp_path, 4))
    fit(run, model)
    before = rows(history)
    run.test(model, val_loader(), ckpt_path=tmp_path / "step=4.ckpt", verbose=False, weights_only=True)
    run.validate(model, val_loader(), verbose=False)
    assert rows(history) == before
    fresh = History()
    trainer(tmp_path / "t", fresh, checkpoints(tmp_path, 4)).test(
        model, val_loader(), ckpt_path=tmp_path / "step=4.ckpt", verbose=False, weights_only=True
    )
    assert fresh.series("train/kl")[0].tolist() == [1, 3]


def test_values_are_read_at_log_steps_only(tmp_path: Path) -> None:
    class Counting(History):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[int] = []

        def _record(self, metrics: Any, step: int) -> None:
            if any(name.startswith("train/") for name in metrics):
                self.steps.append(step)
            super()._record({name: value for name, value in metrics.items() if name.startswith("train/")}, step)

    history = Counting()
    fit(trainer(tmp_path, history, max_epochs=1, log_every_n_steps=3, check_val_every_n_epoch=2), FakeVAE())
    assert history.steps == [2, 5]


def test_the_sanity_check_is_no_result(tmp_path: Path) -> None:
    history = History()
    fit(trainer(tmp_path, history, max_epochs=1, num_sanity_val_steps=2), FakeVAE())
    assert history.series("val/elbo")[0].tolist() == [7]


def test_series(tmp_path: Path) -> None:
    history = History()
    history.load_state_dict(
        {"rows": {"a": {"steps": torch.tensor([1, 3]), "values": torch.tensor([0.1, float("nan")]).double()}}}
    )
    steps, values = history.series("a")
    assert steps.dtype == np.int64 and values.dtype == np.float64
    assert steps.tolist() == [1, 3] and np.isnan(values[1])
    assert history.names == ["a"]
    assert [array.size for array in history.series("never logged")] == [0, 0]
