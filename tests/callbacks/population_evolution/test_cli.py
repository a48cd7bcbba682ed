"""A population from the command line: its configuration, and members that eval.py and the web lab open."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from lightning_gvae import cli
from lightning_gvae.cli.build import build
from lightning_gvae.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
OWN = "callbacks.population_evolution"
TOY = [
    "callbacks/population_evolution=front",
    "data=digits",
    "trainer=cpu",
    "trainer.max_steps=12",
    "trainer.val_check_interval=6",
    "callbacks.figures=null",
    "callbacks.progress_bar=null",
    f"{OWN}.search.members=3",
    f"{OWN}.interval=5",
    f"{OWN}.warmup=5",
]


def config(folder, *overrides, name="train"):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", *overrides])


def test_a_run_leaves_members_that_are_opened_evaluated_and_picked(tmp_path):
    metrics = cli.train(config(tmp_path / "run", *TOY))
    front = json.loads((tmp_path / "run" / "front.json").read_text())
    chosen = front["members"][front["chosen"] - 1]
    assert metrics["test/recon"] == pytest.approx(chosen["test"]["test_distortion"], rel=0.05)  # with other noise
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["optimizer_steps"] == 12
    assert record["status"] == "finished"
    assert "Front of the population" in (tmp_path / "run" / "report.html").read_text()
    path = tmp_path / "run" / chosen["checkpoint"]
    opened = cli.restore(path)
    assert float(opened.model.beta) == chosen["genes"]["beta"]
    found = cli.evaluate(config(tmp_path / "eval", f"ckpt_path={path}", "trainer=cpu", name="eval"))
    assert found["test/elbo"] == pytest.approx(metrics["test/elbo"], rel=1e-6)
    again = [f"{OWN}.front.pick={front['chosen']}", f"{OWN}.front.file={tmp_path}/run/front.json"]
    picked = cli.train(config(tmp_path / "picked", *TOY, *again, "trainer.max_steps=1"))
    assert picked["test/elbo"] == pytest.approx(metrics["test/elbo"], rel=0.05)
    assert not (tmp_path / "picked" / "population.csv").exists()


def test_population_based_training_has_the_learning_rate_as_its_only_gene(tmp_path):
    own = config(tmp_path, "callbacks/population_evolution=pbt").callbacks.population_evolution
    search = build(own.search)
    assert search.names == ["optimizer.lr"]
    assert [objective.name for objective in search.objectives] == ["nelbo"]


def test_a_model_with_evolution_of_its_own_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="`beta` is written by PopulationEvolution already, BetaEvolution cannot"):
        cli.train(config(tmp_path, *TOY, "model=evae"))


def start(folder: Path) -> subprocess.Popen:
    long = ["trainer.max_steps=300", "callbacks.last_checkpoint.every_n_train_steps=20", "test=false", "ckpt_path=auto"]
    command = [sys.executable, str(ROOT / "train.py"), *TOY, *long, f"hydra.run.dir={folder}"]
    return subprocess.Popen(command, cwd=folder.parent, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path):
    """SIGKILL in the middle of training, some generations past the last checkpoint or not."""
    assert start(tmp_path / "whole").wait(280) == 0
    process, journal = start(tmp_path / "killed"), tmp_path / "killed" / "population.csv"
    try:
        while not journal.is_file() or len(journal.read_text().splitlines()) < 3 * 20:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed" / "front.json").exists()
    assert start(tmp_path / "killed").wait(280) == 0
    for name in ("population.csv", "front.json", "front.csv"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
