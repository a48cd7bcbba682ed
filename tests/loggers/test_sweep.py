"""The W&B sweep: the agent's commands, made as wandb makes them, run without a server and log what is searched for."""

from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml
from hydra.core.global_hydra import GlobalHydra
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lightning_gvae.cli.train import main as train_main

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "conf" / "wandb_sweep").glob("*.yaml"))
STREAM = np.random.default_rng(0)
FAST = [
    *("data=digits", "trainer=cpu", "trainer.max_steps=6", "trainer.val_check_interval=3"),
    *("callbacks=none", "test=false"),
]


def drawn(parameter):
    """A value as the server draws it, by the keys of a sweep's configuration."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return parameter["values"][STREAM.integers(len(parameter["values"]))]
    low, high = parameter["min"], parameter["max"]
    assert isinstance(low, float) and isinstance(high, float), "YAML takes 1e-3 for a text"
    if parameter["distribution"] == "log_uniform_values":
        return float(np.exp(STREAM.uniform(np.log(low), np.log(high))))
    assert parameter["distribution"] == "uniform"
    return float(STREAM.uniform(low, high))


def commanded(sweep):
    """The agent's command, as `wandb agent` puts it together."""
    args = {name: {"value": drawn(parameter)} for name, parameter in sweep["parameters"].items()}
    variables = create_sweep_command_args({"args": args})
    variables |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    command = []
    for part in map(str, create_sweep_command(sweep["command"])):
        command += variables[part[2:-1]] if part.startswith("${") and part.endswith("}") else [part]
    return command, args


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_agents_command_trains_and_logs_the_metric(path, tmp_path, monkeypatch):
    sweep = yaml.safe_load(path.read_text())
    command, args = commanded(sweep)
    assert command[:3] == ["/usr/bin/env", "python", "train.py"]
    assert (ROOT / command[2]).is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("sys.argv", [*command[2:], *FAST])
    GlobalHydra.instance().clear()
    train_main()
    wandb.teardown()  # its service has then written all that it holds
    (folder,) = tmp_path.glob("logs/train/runs/*")
    (run,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = run.read_bytes()
    for text in (sweep["metric"]["name"], "elbo-of-a-vae", "sweep"):
        assert text.encode() in content
    config = (folder / ".hydra" / "config.yaml").read_text()
    assert f"latent_dim: {args['latent_dim']['value']}" in config
    assert f"lr: {args['model.optimizer.lr']['value']}" in config


def test_groups_tags_notes_and_the_job_type_reach_wandb(tmp_path, monkeypatch):
    given = {}

    def init(**settings):
        given.update(settings)
        raise wandb.errors.UsageError("enough")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.chdir(tmp_path)
    options = ["logger=wandb", "tags=[baseline,digits]", "logger.wandb.notes='first try'", "logger.wandb.group=study-1"]
    monkeypatch.setattr("sys.argv", ["train.py", *options, *FAST])
    GlobalHydra.instance().clear()
    train_main()
    wanted = {"tags": ["baseline", "digits"], "notes": "first try", "group": "study-1", "job_type": "train"}
    assert {name: given[name] for name in wanted} == wanted
