"""``gvae-export`` and the commands that read an export; ``python -m lightning_gvae``; studies by name."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from lightning_gvae import VAE, cli, load
from lightning_gvae.__main__ import COMMANDS
from lightning_gvae.__main__ import main as package_main
from lightning_gvae.cli.export import export
from lightning_gvae.cli.study import list_studies
from lightning_gvae.cli.study import main as study_main
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.io.version import package_version
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder
from tests.cli.test_train import ROOT, config, run_train
from tests.loading.test_load import SHAPE, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run of a moment with figures and a score."""
    folder = tmp_path_factory.mktemp("run")
    run_train(folder, "trainer.max_steps=4", "metrics=[aggregate_kl]")
    return folder


def exported(run, folder, *overrides):
    return export(config(folder, f"ckpt_path={run}", *overrides, name="export"))


def test_a_run_leaves_as_a_folder_that_needs_it_no_more(run, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    folder = exported(moved, tmp_path / "command", f"folder={tmp_path}/model")
    with torch.no_grad():
        drawn = load(moved).sample(3, torch.Generator().manual_seed(5))
    shutil.rmtree(moved)
    script = f"""
import torch
from lightning_gvae import load
model = load({str(folder)!r})
with torch.no_grad():
    torch.save(model.sample(3, torch.Generator().manual_seed(5)), "drawn.pt")
print(type(model).__name__, model.data_facts.name, model.data_facts.num_classes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path
    )
    assert done.stdout.split() == ["VAE", "digits", "10"]
    assert torch.equal(torch.load(tmp_path / "drawn.pt", weights_only=True), drawn)
    training = json.loads((folder / "config.json").read_text())["training"]
    assert training["step"] == training["optimizer_steps"] == 4 and training["checkpoint"] == "last.ckpt"
    assert "test/elbo" in training["metrics"] and any(name.startswith("score/") for name in training["scores"])
    card = (folder / "README.md").read_text()
    assert "![" in card and (folder / "figures/samples.png").is_file() and str(tmp_path) not in card


def test_an_export_is_evaluated_like_its_checkpoint(run, tmp_path):
    folder = exported(run, tmp_path / "command")
    assert folder == tmp_path / "command/model"
    options = ("trainer=cpu", "evaluation.seed=0")
    found = cli.evaluate(config(tmp_path / "a", f"ckpt_path={folder}", *options, name="eval"))
    assert found == cli.evaluate(config(tmp_path / "b", f"ckpt_path={run}", *options, name="eval"))
    with pytest.raises(CheckpointError, match="is an exported model, which has weights and no state of a training"):
        run_train(tmp_path / "c", f"ckpt_path={folder}", "trainer.max_steps=8")


def test_the_lab_opens_an_export(run, tmp_path):
    folder = exported(run, tmp_path / "command")
    restored = cli.restore(folder)
    restored.datamodule.setup()
    assert restored.datamodule.spec.name == "digits" and len(restored.datamodule.test_set)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"data_module": None}))
    restored = cli.restore(folder / "model.safetensors")
    assert restored.datamodule.spec.class_names[:2] == ("0", "1")
    with pytest.raises(ValueError, match="does not say where digits lies"):
        restored.datamodule.setup()
    with pytest.raises(CheckpointError, match="does not name the class of its data"):
        cli.evaluate(config(tmp_path / "d", f"ckpt_path={folder}", "trainer=cpu", name="eval"))


def test_other_forms_agree_with_the_model(run, tmp_path, capsys):
    folder = exported(run, tmp_path / "command", "to=torch_export")
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.pt2", "encoder.pt2"]
    assert "encoder.pt2: agrees with the model" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="`to` must be one of folder, onnx, .*got .pickle."):
        exported(run, tmp_path / "command", "to=pickle")
    with pytest.raises(ConfigError, match="give to=folder, not torch_export"):
        exported(run, tmp_path / "command", "to=torch_export", "wandb=a/b/c")


def test_own_networks_are_named_on_the_command_line(tmp_path):
    networks = (MLPEncoder(SHAPE, 3, hidden=[6]), MLPDecoder(SHAPE, 3, hidden=[6]))
    path = trained(VAE(SHAPE, 3, network=networks), tmp_path / "model.ckpt")
    parts = ",".join(
        f"{part}:{{_target_:lightning_gvae.nets.mlp.MLP{part.title()},image_shape:[1,8,8],latent_dim:3,hidden:[6]}}"
        for part in ("encoder", "decoder")
    )
    folder = exported(path, tmp_path / "command", f"network={{{parts}}}")
    assert torch.equal(load(folder).decoder.head.weight, networks[1].head.weight)


def test_studies_are_listed_and_none_is_started(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[study_main.__module__], "run_entry", lambda entry: print("started"))
    for arguments, status in (([], 0), (["workers=2"], "no study was named, so none was started")):
        monkeypatch.setattr("sys.argv", ["gvae-study", *arguments])
        with pytest.raises(SystemExit) as caught:
            study_main()
        shown = capsys.readouterr().out
        assert caught.value.code == status and list_studies() in shown and "started" not in shown
    for arguments in (["study=betas"], ["--help"], ["+study=solve", "-m"]):
        monkeypatch.setattr("sys.argv", ["gvae-study", *arguments])
        study_main()
        assert capsys.readouterr().out == "started\n"
    lines, names = list_studies().split("\n\n"), [path.stem for path in sorted((ROOT / "conf/study").glob("*.yaml"))]
    for name, (asks, shows) in zip(names, (each.split("\n") for each in lines), strict=True):
        assert asks.startswith(name) and shows.strip().startswith(f"python study.py study={name}")


def test_the_package_lists_and_runs_its_commands(monkeypatch, capsys):
    for arguments in ([], ["--help"], ["--version"]):
        monkeypatch.setattr("sys.argv", ["lightning_gvae", *arguments])
        package_main()
        shown = capsys.readouterr().out
        assert shown.startswith(f"lightning-gvae {package_version()}")
        assert all(f"  {name} " in shown for name in COMMANDS) or arguments == ["--version"]
    for name in COMMANDS:
        monkeypatch.setattr("sys.argv", ["lightning_gvae", name, "--version"])
        package_main()
        assert capsys.readouterr().out == f"lightning-gvae {package_version()}\n"
    monkeypatch.setattr("sys.argv", ["lightning_gvae", "dance"])
    with pytest.raises(SystemExit, match="there is no command 'dance'; there are train, eval"):
        package_main()
