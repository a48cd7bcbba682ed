"""One folder a run, whatever starts its processes: Lightning, Lightning in a multirun, or torchrun."""

import json
import os
import subprocess
import sys

import pytest
import torch.distributed as dist
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from lightning.fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd
from omegaconf import OmegaConf, open_dict

from lightning_gvae.callbacks.one_folder import OneFolder
from lightning_gvae.cli.hydra_guard import as_a_run_of_its_own
from lightning_gvae.errors import ConfigError
from tests.cli.test_train import ROOT, SMALL, command
from tests.evolution.test_ranks import start
from tests.processes import start_ranks

QUICK = (*SMALL[2:4], "data=digits", "trainer.max_steps=5", "callbacks.figures=null", "test=false")
LOCAL = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


def checked(folder, seed):
    """A finished run of two processes and one set of checkpoints."""
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["processes"], record["seed"]) == ("finished", 2, seed)
    assert sorted(path.name for path in folder.glob("checkpoints/*")) == ["best.ckpt", "last.ckpt"]
    assert len(list(folder.glob("**/metrics.csv"))) == 1 and (folder / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_multirun_on_two_processes_leaves_a_folder_a_run(tmp_path):
    command("train.py", "--multirun", "seed=0,1", "trainer=ddp_sim", *QUICK, cwd=tmp_path, env=LOCAL)
    assert [path.name for path in (tmp_path / "logs/train").iterdir()] == ["multiruns"]
    (sweep,) = (tmp_path / "logs/train/multiruns").iterdir()
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "multirun.yaml"]
    for seed in (0, 1):
        checked(sweep / str(seed), seed)
    assert len(list(tmp_path.rglob("*.ckpt"))) == 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_into_one_folder(tmp_path):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "train.py")]
    given = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "hydra.run.dir=logs/my-run",
        "ckpt_path=auto",
    ]
    done = subprocess.run(
        [*run, *given, *QUICK],
        check=False,
        cwd=tmp_path,
        env=os.environ | LOCAL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["my-run"]
    checked(tmp_path / "logs/my-run", 0)
    assert len(list(tmp_path.rglob("*.ckpt"))) == 2


def agree(rank, folder):
    start(rank, folder)
    OneFolder(f"{folder}/run").setup(None, None, "fit")
    message = ""
    try:
        OneFolder(f"{folder}/run{rank}").setup(None, None, "fit")
    except ConfigError as error:
        message = str(error)
    with open(f"{folder}/message{rank}", "w") as file:
        file.write(message)
    dist.destroy_process_group()


def test_processes_with_folders_of_their_own_are_refused_on_every_rank(tmp_path):
    start_ranks(agree, str(tmp_path))
    for rank in range(2):
        message = (tmp_path / f"message{rank}").read_text()
        assert f"{tmp_path}/run0, {tmp_path}/run1" in message and "hydra.run.dir=" in message
    OneFolder(tmp_path).setup(None, None, "fit")  # alone


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Hydra as it stands in the second job of a multirun."""
    before = Singleton.get_state()
    asked = ["train.py", "-cd", "mine", "-m", "seed=0,1", "model.beta=2", "hydra.sweep.dir=out", "hydra.verbose=true"]
    monkeypatch.setattr(sys, "argv", asked)
    GlobalHydra.instance().clear()
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        own = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=out", "hydra.verbose=true"]
        cfg = compose("train", ["seed=1", "model.beta=2", *own], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(tmp_path / "out/1")
        cfg.hydra.runtime.cwd = str(tmp_path)
    HydraConfig.instance().set_config(cfg)
    yield cfg
    Singleton.set_state(before)


def test_processes_of_a_multirun_are_told_their_job_and_its_folder(job, tmp_path):
    with as_a_run_of_its_own():
        arguments, folder = _hydra_subprocess_cmd(1)
    told = arguments[arguments.index("--config-dir") :]
    assert told == [
        "--config-dir",
        "mine",
        "seed=1",
        "model.beta=2",
        "hydra.verbose=true",
        "hydra.mode=RUN",
        f'hydra.run.dir="{tmp_path}/out/1"',
        "hydra.job.name=train_ddp_process_1",
        "hydra.output_subdir=null",
    ]
    assert folder == str(tmp_path)
    assert sys.argv[3:5] == ["-m", "seed=0,1"], "the next job starts from the command line as it was"


def test_a_single_run_is_left_as_it_is(job):
    single = job.copy()
    OmegaConf.set_readonly(single.hydra, False)
    single.hydra.mode = "RUN"
    HydraConfig.instance().set_config(single)
    before = list(sys.argv)
    with as_a_run_of_its_own():
        assert sys.argv == before
