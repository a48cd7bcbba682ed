"""Multiruns whose runs are jobs of submitit: on SLURM in earnest, here with its local executor."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lightning_gvae.errors import ConfigError
from lightning_gvae.loading.targets import check_plugins
from tests.cli.test_train import SMALL, command

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra `slurm`")

DOCUMENTED = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.gpus_per_node=4",
    "hydra.launcher.tasks_per_node=4",
    "hydra.launcher.timeout_min=600",
    "hydra.launcher.nodes=2",
    "trainer=ddp",
    "trainer.devices=4",
    "trainer.num_nodes=2",
    "ckpt_path=auto",
)


def launcher(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides, return_hydra_config=True).hydra.launcher)


def test_the_documented_command_composes_and_its_launcher_is_allowed():
    node = launcher(*DOCUMENTED)
    assert node["_target_"].endswith("submitit_launcher.SlurmLauncher")
    assert (node["nodes"], node["tasks_per_node"], node["gpus_per_node"], node["timeout_min"]) == (2, 4, 4, 600)
    check_plugins(node)
    page = (Path(__file__).resolve().parents[2] / "docs/reliability.md").read_text()
    assert all(override in page for override in DOCUMENTED), "the page has another command"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"_target_": "os.system"},
        {"x": {"_target_": "os.system", "command": "true"}},  # Hydra itself would look at the outermost name alone
        {"x": [{"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.os.system"}]},
        {"x": {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.filter_overrides"}},
        {"x": {"_target_": "${y}"}},
        {"x": {"_target_": 7}},
    ],
)
def test_a_launcher_that_names_something_else_is_refused(spoilt):
    with pytest.raises(ConfigError):
        check_plugins(launcher("hydra/launcher=submitit_slurm") | spoilt)


def test_a_launcher_that_names_something_else_ends_the_command_before_it_is_made(tmp_path):
    spoilt = f"+hydra.launcher.x={{_target_:os.mkdir,path:{tmp_path}/made}}"
    found = command(
        "train.py", "-m", "hydra/launcher=submitit_local", spoilt, "seed=1,2", *SMALL, cwd=tmp_path, check=False
    )
    assert found.returncode == 1 and "nothing was called" in " ".join(found.stderr.split())
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_runs_of_a_multirun_are_jobs_of_submitit(tmp_path):
    quick = ("trainer.max_steps=5", "callbacks.figures=null", "test=false")
    command("train.py", "-m", "hydra/launcher=submitit_local", "seed=1,2", *SMALL[:-1], *quick, cwd=tmp_path)
    (sweep,) = tmp_path.glob("logs/train/multiruns/*")
    runs = sorted(sweep.glob("*/run.json"))
    records = [json.loads(path.read_text()) for path in runs]
    assert [(record["seed"], record["status"]) for record in records] == [(1, "finished"), (2, "finished")]
    for path in runs:
        names = sorted(file.name for file in path.parent.glob("checkpoints/*"))
        assert names == ["best.ckpt", "last.ckpt"]
    assert len(list((sweep / ".submitit").glob("*/*_result.pkl"))) == 2, "submitit has not run the jobs"
