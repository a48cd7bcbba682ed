"""Hostile files: each is refused with a message, and nothing in it is executed or written elsewhere."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from lightning_gvae import cli
from lightning_gvae.callbacks.latent_search.run import _stored
from lightning_gvae.datamodules.cifar import ARCHIVE, CIFAR10DataModule
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.report.run_record import read_checkpoint
from tests.cli.test_train import config, run_train
from tests.security import hostile


@pytest.fixture
def canary(tmp_path):
    """Must not be there at the end."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "something in the file was executed"


@pytest.mark.parametrize("where", ["payload", "state_dict", "callbacks", "gvae_random"])
def test_a_checkpoint_with_a_call_in_it(where, tmp_path, canary):
    path = hostile.checkpoint(tmp_path / "evil.ckpt", canary, where=where)
    with pytest.raises(CheckpointError, match=r"it holds \S*mkdir.*nothing in it was executed"):
        read_checkpoint(path)
    for name in ("train", "eval"):
        run = cli.train if name == "train" else cli.evaluate
        with pytest.raises(CheckpointError, match="nothing in it was executed"):
            run(
                config(
                    tmp_path / name,
                    *(["data=digits"] * (name == "train")),
                    "trainer=cpu",
                    f"ckpt_path={path}",
                    name=name,
                )
            )


def test_a_bare_pickle_as_checkpoint(tmp_path, canary):
    with pytest.raises(CheckpointError, match="evil.ckpt is damaged or not a checkpoint"):
        read_checkpoint(hostile.legacy_checkpoint(tmp_path / "evil.ckpt", canary))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A checkpoint of a run of two steps."""
    folder = tmp_path_factory.mktemp("honest")
    run_train(folder, "trainer.max_steps=2", "test=false", "callbacks.figures=null")
    return folder / "checkpoints/last.ckpt"


def test_a_checkpoint_whose_configuration_would_run_something(honest, tmp_path, canary):
    """Tensors and plain containers only, so it opens; its own configuration is what does harm."""
    for number, place in enumerate(("model", "data", "optimizer")):
        checkpoint = torch.load(honest, weights_only=True)
        stored = checkpoint["gvae_config"]
        evil = {"_target_": "torch.os.mkdir", "path": str(canary)}
        if place == "optimizer":
            stored["model"]["optimizer"] = evil
        else:
            stored[place] = evil
        torch.save(checkpoint, tmp_path / "evil.ckpt")
        with pytest.raises(ConfigError, match="nothing was called"):
            cli.evaluate(config(tmp_path / str(number), f"ckpt_path={tmp_path}/evil.ckpt", "trainer=cpu", name="eval"))
        assert not canary.exists()


def test_the_state_of_a_latent_search(tmp_path, canary):
    path = hostile.checkpoint(tmp_path / "state.pt", canary)
    with pytest.raises(CheckpointError, match="delete it, and the search starts anew"):
        _stored([path.parent], path.name, "key")


def test_a_batch_of_cifar_10(tmp_path, canary):
    hostile.cifar_folder(tmp_path / "cifar-10-batches-py", canary)
    with pytest.raises(DataError, match=r"asks for (posix|os)\.mkdir.*nothing in it was executed"):
        CIFAR10DataModule(tmp_path, val_size=1).setup()


def test_an_archive_of_cifar_10_with_paths_that_lead_out(tmp_path, canary):
    hostile.escaping_tar(tmp_path / "in" / ARCHIVE, canary)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="must hold"):
        CIFAR10DataModule(tmp_path / "in", val_size=1).setup()
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "a\\..\\evil.png"])
def test_a_zip_of_images_with_paths_that_lead_out(name, tmp_path):
    path = hostile.escaping_zip(tmp_path / "in.zip", name)
    if name not in zipfile.ZipFile(path).namelist():
        pytest.skip("zipfile itself has repaired the name")
    with pytest.raises(DataError, match="names a file outside itself"):
        ImageFolderDataModule(path, image_size=8, val_size=1, test_size=1, cache_dir=tmp_path / "cache").setup()
    assert not (tmp_path / "evil.png").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.png", "w") as file,
    ):
        for _ in range(257):
            file.write(bytes(2**20))
    with pytest.raises(DataError, match="claims to be 269484032 bytes long"):
        ImageFolderDataModule(path, image_size=8, val_size=1, test_size=1, cache_dir=tmp_path / "cache").setup()


def test_a_journal_of_a_search_is_data_and_nothing_else(tmp_path, canary):
    from lightning_gvae.evolution.architecture.journal import SearchJournal

    lines = [
        {"journal": 1, "settings": {}},
        {
            "phase": "search",
            "key": f"__import__('os').mkdir('{canary}')",
            "values": {"loss": f"__import__('os').mkdir('{canary}')"},
            "status": "trained",
        },
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    SearchJournal(tmp_path / "journal.jsonl", {}).open()


def test_no_file_of_the_package_unpickles():
    """``pickle.load``, ``torch.load`` without ``weights_only=True`` and ``allow_pickle=True`` stand nowhere.

    One file, ``safe_pickle``, derives an unpickler, whose every name is on a list.
    """
    import ast

    root = Path(__file__).resolve().parents[2]
    found = []
    for path in [p for folder in ("lightning_gvae", "callbacks", "datamodules") for p in (root / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and path.name != "safe_pickle.py":
                found += [f"{path}: {node.name}" for base in node.bases if "Unpickler" in ast.unparse(base)]
            if not isinstance(node, ast.Call):
                continue
            name, words = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
            true = {key for key, value in words.items() if isinstance(value, ast.Constant) and value.value is True}
            if name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load", "marshal.loads"):
                found.append(f"{path}: {name}")
            if name == "torch.load" and "weights_only" not in true:
                found.append(f"{path}: {name}")
            if "allow_pickle" in true:
                found.append(f"{path}: {name}(allow_pickle=True)")
    assert found == []
