"""Checkpoints of release 0.1 open, evaluate and go on with the numbers that they had there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gvae import cli
from lightning_gvae.cli.restore import restore_run
from lightning_gvae.errors import CheckpointError
from tests.compat.files import restore_checkpoint
from tests.compat.runs import compose_run, outputs, overrides_of, write_data

STORED = Path(__file__).parent.parent / "data/checkpoints_0_1"
FAMILIES = sorted(folder.name for folder in STORED.iterdir())
# The others are evaluated and go on in `make test-slow`.
RESUMED = ("vae", "vae_seed", "evae", "text_evae", "vae_gan", "solve_vae", "conv_autoencoder", "vae_ema", "control_vae")
SOME = [family if family in RESUMED else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
# Another processor, or another way to multiply, rounds differently; a generation of evolution after it a little more.
RELATIVE, ABSOLUTE = 5e-4, 1e-5


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folder that stands for the one in which the release ran, with its data."""
    folder = tmp_path_factory.mktemp("root")
    write_data(folder)
    return folder


def stored(family: str, root: Path) -> tuple[Path, dict[str, Any]]:
    path = restore_checkpoint(STORED / family, root, f"{family}/last.ckpt")
    return path, json.loads((STORED / family / "expected.json").read_text(encoding="utf-8"))


def alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            alike(found[name], value)
        else:
            assert found[name] == pytest.approx(value, rel=RELATIVE, abs=ABSOLUTE), name


def test_a_checkpoint_is_rebuilt_as_it_was(root):
    path, _ = stored("vae", root)
    checkpoint = torch.load(path, weights_only=True)
    assert {"state_dict", "optimizer_states", "loops", "callbacks", "gvae_config", "gvae_random"} <= checkpoint.keys()
    assert list(checkpoint["optimizer_states"][0]["state"]) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert checkpoint["gvae_random"][0]["torch"].dtype == torch.uint8
    assert checkpoint["gvae_config"]["paths"]["output_dir"] == f"{root}/run"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_computes_what_it_computed(family, root, tmp_path):
    path, expected = stored(family, root)
    command = [f"ckpt_path={path}", f"paths.cache_dir={root}/cache"]
    _, datamodule, model = restore_run(compose_run(tmp_path, *command, name="eval"))
    alike(outputs(model, datamodule), expected["outputs"])


@pytest.mark.parametrize("family", SOME)
def test_the_test_set_gives_its_old_numbers(family, root, tmp_path):
    path, expected = stored(family, root)
    command = [f"ckpt_path={path}", "trainer=cpu", f"paths.cache_dir={root}/cache"]
    alike(cli.evaluate(compose_run(tmp_path, *command, name="eval")), expected["evaluate"])


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "vae_custom"])
def test_the_lab_opens_a_model(family, root):
    path, _ = stored(family, root)
    model = cli.restore(path).model
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    if family != "dynamic_vae":  # a file holds no schedule, and this one has a state
        again = type(model).load_from_checkpoint(path)
        assert again.hparams == model.hparams


@pytest.mark.parametrize("family", SOME)
@pytest.mark.filterwarnings("ignore:.*does not know the old name:FutureWarning")
def test_training_goes_on_as_it_would_have(family, root, tmp_path):
    path, expected = stored(family, root)
    folder, journal = tmp_path / "run", STORED / family / "evolution.csv"
    if journal.is_file():
        folder.mkdir()
        shutil.copy(journal, folder)
    command = [*overrides_of(expected["overrides"], root), f"ckpt_path={path}", "trainer.max_steps=8"]
    if family == "vae_seed":  # then the parts of the data were cut by the run's seed
        with pytest.raises(CheckpointError, match=r"go on with data.split_seed=1"):
            cli.train(compose_run(folder, *command))
        command.append("data.split_seed=1")
    metrics = cli.train(compose_run(folder, *command))
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] >= 8
    # The KL of single latents is no longer among a run's metrics, and a run is now validated where it ends: 0.1 kept
    # the values of an earlier step.
    wanted = {name: value for name, value in expected["resumed"].items() if not name.startswith(("kl/", "val/"))}
    assert any(name.startswith("test/") for name in wanted) and any(name.startswith("train/") for name in wanted)
    assert not any(name.startswith("kl/") for name in metrics)
    alike({name: metrics[name] for name in wanted}, wanted)
    if journal.is_file():
        rows, earlier = (folder / "evolution.csv").read_text().splitlines(), journal.read_text().splitlines()
        assert rows[: len(earlier)] == earlier and len(rows) > len(earlier)
