"""Real signals to real commands: in a step, outside the steps, twice, in a multirun, in a study."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_gvae.io.run_status import read_status
from lightning_gvae.stopping import SIGNALS
from tests.faults.cases import RUN
from tests.faults.checks import corrupt_files, same_training
from tests.faults.fork_server import ForkServer
from tests.faults.witness import told

ALLOW = {"GVAE_ALLOW_TARGETS": "tests."}
VAE = ("data=digits", *RUN, "callbacks.last_checkpoint.every_n_train_steps=1000")


class Commands:
    """Commands in one folder; a signal is sent when a command has come to a certain point."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder, self.pid = server, folder, 0

    def start(self, *arguments: str) -> None:
        environment = {**ALLOW, "GVAE_FAULT_WITNESS": str(self.folder / "witness")}
        self.pid = self.server.start("train", *arguments, cwd=self.folder, log=self.folder / "log", **environment)

    def run(self, *arguments: str) -> None:
        self.start(*arguments)
        assert self.server.wait(self.pid, 150) == 0, self.log()

    def steps(self, number: int) -> None:
        """Wait until so many optimiser steps are done."""
        self._until(lambda: told(self.folder / "witness") >= number)

    def file(self, path: str) -> None:
        """Wait for a file."""
        self._until((self.folder / path).exists)

    def _until(self, come) -> None:
        deadline = time.monotonic() + 100
        while not come():
            assert time.monotonic() < deadline and self.server.wait(self.pid, 0) is None, self.log()
            time.sleep(0.01)

    def send(self, name: str) -> int:
        return self.server.kill(self.pid, getattr(signal, name))

    def log(self) -> str:
        return " ".join((self.folder / "log").read_text()[-4000:].split())


@pytest.fixture
def commands(server, tmp_path):
    return Commands(server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("name", SIGNALS)
def test_in_a_step(name, accumulated, commands, fault):
    settings = (*VAE, f"trainer.accumulate_grad_batches={accumulated}", "trainer.max_steps=150")
    commands.run(*settings, f"hydra.run.dir={commands.folder}/whole")
    (commands.folder / "witness").unlink()
    with fault(f"{name}: training, VAE", "0 steps"):
        run = (*settings, f"hydra.run.dir={commands.folder}/cut", "ckpt_path=auto")
        commands.start(*run)
        commands.steps(33)
        assert commands.send(name) == 75, commands.log()
        cut = commands.folder / "cut"
        assert read_status(cut) == "stopped"
        assert f"the run was told to stop ({name})" in commands.log()
        saved = torch.load(cut / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        assert saved == json.loads((cut / "run.json").read_text())["optimizer_steps"] >= 33
        assert "go on: python train.py data=digits" in commands.log()
        assert corrupt_files(cut) == []
        commands.run(*run)
        same_training(commands.folder / "whole", cut)


def test_the_second_ctrl_c_ends_at_once_and_the_run_is_known_as_interrupted(commands, fault):
    """The step under way waits for ever, so nothing but the second signal can end it."""
    stuck = ("+callbacks.stuck._target_=tests.endings.stops.Stuck", f"+callbacks.stuck.file={commands.folder}/stuck")
    with fault("SIGINT, twice"):
        commands.start(*VAE, *stuck, "trainer.max_steps=150", f"hydra.run.dir={commands.folder}/run")
        commands.file("stuck")
        os.killpg(commands.pid, signal.SIGINT)
        commands._until(lambda: "SIGINT: completing this step" in commands.log())
        assert read_status(commands.folder / "run") == "running"
        assert commands.send("SIGINT") == -signal.SIGINT
        assert json.loads((commands.folder / "run/run.json").read_text())["status"] == "running"
        assert read_status(commands.folder / "run") == "interrupted"


@pytest.mark.slow
def test_a_run_that_was_killed_is_known_as_interrupted(commands, fault):
    with fault("SIGKILL: status of the run"):
        commands.start(*VAE, "trainer.max_steps=5000", f"hydra.run.dir={commands.folder}/run")
        commands.steps(5)
        assert read_status(commands.folder / "run") == "running"
        assert commands.send("SIGKILL") == -signal.SIGKILL
        assert read_status(commands.folder / "run") == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("hook", ["on_fit_start", "on_fit_end", "on_test_start"])
def test_outside_the_steps(hook, name, commands, fault):
    linger = [
        f"+callbacks.linger.{key}={value}"
        for key, value in {
            "_target_": "tests.endings.stops.Linger",
            "file": f"{commands.folder}/waits",
            "hook": hook,
        }.items()
    ]
    with fault(f"{name}: outside training"):
        commands.start(*VAE, *linger, "trainer.max_steps=12", f"hydra.run.dir={commands.folder}/run")
        commands.file("waits")
        assert commands.send(name) == 75, commands.log()
        record = json.loads((commands.folder / "run/run.json").read_text())
        assert (record["status"], record["stopped_by"]) == ("stopped", name)
        if hook == "on_fit_start":
            assert "Nothing had been saved yet" in commands.log()
        else:
            assert torch.load(commands.folder / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 12
            assert "go on: python train.py" in commands.log() and (commands.folder / "run/report.html").is_file()
        assert "Traceback" not in commands.log() and "Error" not in commands.log()


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_no_further_job_of_a_multirun_starts(name, commands, fault):
    with fault(f"{name}: multirun"):
        sweep = f"hydra.sweep.dir={commands.folder}/jobs"
        commands.start("-m", "seed=1,2", *VAE, "trainer.max_steps=4000", sweep)
        commands.steps(20)
        assert commands.send(name) == 75, commands.log()
        assert [path.name for path in sorted((commands.folder / "jobs").iterdir()) if path.is_dir()] == ["0"]
        assert read_status(commands.folder / "jobs/0") == "stopped"
        assert "no further one is started" in commands.log()
        commands.run("-m", "seed=1,2", *VAE, "trainer.max_steps=40", sweep, "ckpt_path=auto")
        assert [read_status(commands.folder / f"jobs/{job}") for job in (0, 1)] == ["finished", "finished"]


@pytest.mark.slow
def test_every_job_of_a_multirun_has_a_wandb_run_of_its_own(commands, fault):
    """The first job fails after its W&B run has begun; the second is not logged into that run."""
    with fault("error: first job of a multirun with W&B"):
        jobs = commands.folder / "jobs"
        quick = (*VAE, "model=cyclical_vae", "beta=2,null", "logger=wandb", "trainer.max_steps=5", "test=false")
        environment = {**ALLOW, "GVAE_FAULT_WITNESS": str(commands.folder / "witness"), "WANDB_MODE": "offline"}
        log = commands.folder / "log"
        status = commands.server.run("train", "-m", *quick, f"hydra.sweep.dir={jobs}", cwd=jobs, log=log, **environment)
        assert status == 1 and "Cyclical computes beta at every step" in commands.log()
        assert [read_status(jobs / job) for job in "01"] == ["failed", "finished"]
        for job in "01":
            (run,) = (jobs / job / "wandb").glob("offline-run-*/run-*.wandb")
            assert (b"val/recon" in run.read_bytes()) == (job == "1")  # the configuration names val/elbo


STUDY = """
import sys
from pathlib import Path
from lightning_gvae.cli.entry import run_entry
from lightning_gvae.io.run_status import read_status
from lightning_gvae.studies.cells import Cell, run_cells
cells = [Cell("vae", seed, tuple(sys.argv[2:])) for seed in (1, 2)]
run_entry(lambda: run_cells(cells, Path(sys.argv[1]), lambda folder: {"status": read_status(folder)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "whole_group"), [("SIGINT", True), ("SIGTERM", False), ("SIGUSR1", False)])
def test_no_further_cell_of_a_study_starts(name, whole_group, tmp_path, fault):
    """Ctrl-C reaches the study and its cells; a SIGTERM to the study alone is passed on."""
    environment = {**os.environ, **ALLOW, "GVAE_FAULT_WITNESS": str(tmp_path / "witness"), "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "study"

    def start(steps: int) -> subprocess.Popen:
        command = [sys.executable, "-c", STUDY, str(folder), *VAE, f"trainer.max_steps={steps}", "test=false"]
        root = Path(__file__).resolve().parents[2]
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(command, cwd=root, env=environment, start_new_session=True, stderr=log, stdout=log)

    with fault(f"{name}: study of runs", "0 steps"):
        study = start(6000)
        deadline = time.monotonic() + 100
        while told(tmp_path / "witness") < 20:
            assert time.monotonic() < deadline and study.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.01)
        (os.killpg if whole_group else os.kill)(study.pid, getattr(signal, name))
        assert study.wait(60) == 75, (tmp_path / "log").read_text()
        assert "0 of 2 runs are done" in (tmp_path / "log").read_text()
        (run,) = folder.glob("*/attempt-0")
        assert read_status(run) == "stopped"
        saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        assert saved == told(tmp_path / "witness") >= 20
