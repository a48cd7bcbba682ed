"""Every logger in the states that good runs reach: asleep, resumed, stopped early, many latents, no figures."""

import csv
import json

import pytest
import wandb

from tests.cli.test_train import EVOLVE, run_train

ASLEEP = (
    "callbacks.beta_evolution.search.tolerance=0.99",
    "callbacks.beta_evolution.search.convergence.window=2",
    "callbacks.beta_evolution.search.convergence.std=100.0",
    "target_kl=8",
)
EARLY = (
    "+callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping",
    "+callbacks.early.monitor=val/elbo",
    "+callbacks.early.mode=max",
    "+callbacks.early.patience=1",
    "+callbacks.early.min_delta=1e9",
)


@pytest.fixture
def offline(monkeypatch):
    """W&B without a server; nothing is left running."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    assert wandb.run is None, "the run was not finished"


def runs(folder):
    """W&B's offline runs in a run folder, as bytes."""
    wandb.teardown()  # its service has then written all that it holds
    return [path.read_bytes() for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


@pytest.mark.usefixtures("offline")
def test_asleep_and_resumed_asleep(tmp_path):
    settings = (*EVOLVE, *ASLEEP, "logger=many", "test=false")
    run_train(tmp_path / "a", *settings, "trainer.max_steps=45")
    with (tmp_path / "a/evolution.csv").open() as file:
        assert "" in [row["fitness"] for row in csv.DictReader(file)], "the search does not sleep"
    on = f"ckpt_path={tmp_path}/a/checkpoints/last.ckpt"
    run_train(tmp_path / "b", *settings, "trainer.max_steps=65", on)
    for name in "ab":
        (found,) = runs(tmp_path / name)
        assert b"evolution/population" in found and b"final_metrics" in found
        assert list(tmp_path.glob(f"{name}/tensorboard/events*"))
        assert "loggers_left_out" not in json.loads((tmp_path / name / "run.json").read_text())


@pytest.mark.usefixtures("offline")
def test_many_latents_stopped_early_and_without_figures(tmp_path):
    run_train(tmp_path / "a", "latent_dim=40", "logger=many", "trainer.max_steps=100", *EARLY)
    run_train(tmp_path / "b", "logger=many", "callbacks.figures=null", "trainer.max_steps=12")
    for name in "ab":
        (found,) = runs(tmp_path / name)
        assert b"test/elbo" in found
        assert "loggers_left_out" not in json.loads((tmp_path / name / "run.json").read_text())


@pytest.mark.usefixtures("offline")
def test_a_run_that_fails_finishes_its_wandb_run(tmp_path, monkeypatch):
    statuses = []
    finish = wandb.Run.finish
    monkeypatch.setattr(
        wandb.Run, "finish", lambda self, exit_code=None: (statuses.append(exit_code), finish(self, exit_code))[1]
    )
    with pytest.raises(ValueError, match="`beta="):
        run_train(tmp_path / "a", "model=cyclical_vae", "beta=2", "logger=wandb", "trainer.max_steps=12")
    run_train(tmp_path / "b", "logger=wandb", "trainer.max_steps=12", "test=false")
    assert statuses == [1, 0]
    assert [len(runs(tmp_path / name)) for name in "ab"] == [1, 1]


@pytest.mark.usefixtures("offline")
def test_a_wandb_that_fails_is_told_in_run_json(tmp_path, monkeypatch):
    def refused(**settings):
        raise wandb.errors.UsageError("no API key configured")

    monkeypatch.setattr(wandb, "init", refused)
    run_train(tmp_path, "logger=wandb", "trainer.max_steps=12", "test=false")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["loggers_left_out"] == {"WandbLogger": "experiment: UsageError: no API key configured"}
