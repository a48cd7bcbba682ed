"""Hostile files: each is refused with a message, and nothing in it is executed or written elsewhere."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightning_gvae import cli
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.callbacks.latent_search.run import _stored
from lightning_gvae.cli.build import build
from lightning_gvae.cli.restore import _without_cache
from lightning_gvae.datamodules.cifar import ARCHIVE, CIFAR10DataModule
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.io.checkpoint import read_checkpoint
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


@pytest.fixture(scope="module")
def stored(honest):
    return torch.load(honest, weights_only=True)


SPOILT = {
    "name of the data": ("data", "name", "${oc.env:HOME}"),
    "folder of the data": ("data", "root", "${oc.env:HOME}"),
    "model": ("model", "network", "${oc.decode:mlp}"),
    "nested": ("model", "optimizer", {"_target_": "torch.optim.Adam", "lr": ["${oc.env:SECRET}"]}),
    "key": ("model", "${oc.env:HOME}", 1),
}


@pytest.mark.parametrize("case", SPOILT)
@pytest.mark.parametrize("reader", ["eval", "lab"])
def test_no_interpolation_of_a_checkpoint_is_resolved(case, reader, stored, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    section, key, value = SPOILT[case]
    config_ = {**stored["gvae_config"], section: {**stored["gvae_config"][section], key: value}}
    path = tmp_path / "foreign.ckpt"
    torch.save({**stored, "gvae_config": config_}, path)
    with pytest.raises(CheckpointError, match="foreign.ckpt carries the setting .* Nothing was resolved") as refused:
        if reader == "lab":
            cli.restore(path)
        else:
            cli.evaluate(config(tmp_path / "eval", f"ckpt_path={path}", "trainer=cpu", name="eval"))
    assert "told" not in str(refused.value)


def test_a_single_flipped_bit_is_found(honest, tmp_path):
    whole = honest.read_bytes()
    with zipfile.ZipFile(honest) as archive:
        parts = [part for part in archive.infolist() if part.file_size >= 16]
    assert len(parts) > 10
    path = tmp_path / "flipped.ckpt"
    for part in parts:
        start = part.header_offset + 30 + int.from_bytes(whole[part.header_offset + 26 :][:2], "little")
        start += int.from_bytes(whole[part.header_offset + 28 :][:2], "little")
        for place in (start, start + part.file_size // 2, start + part.file_size - 1):
            spoilt = bytearray(whole)
            spoilt[place] ^= 0b1000
            path.write_bytes(spoilt)
            with pytest.raises(CheckpointError, match=f"flipped.ckpt is damaged: .*{Path(part.filename).name}"):
                read_checkpoint(path)


@pytest.mark.parametrize(("place", "allowed"), [("data/set", True), ("home", False), ("data/../home", False)])
def test_data_of_a_checkpoint_are_read_below_the_labs_folders_only(place, allowed, stored, tmp_path):
    for folder in ("data/set", "home", "cache"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {
        "_target_": "lightning_gvae.datamodules.mnist.MNISTDataModule",
        "root": str(tmp_path / place),
        "val_size": 4,
    }
    model = {**stored["gvae_config"]["model"], "image_shape": [1, 28, 28], "network": "mlp"}
    path = tmp_path / "foreign.ckpt"
    weights = build(OmegaConf.create(model)).state_dict()
    facts = {**stored["gvae_model"], "image_shape": [1, 28, 28]}
    config_ = {**stored["gvae_config"], "data": settings, "model": model}
    torch.save({**stored, "gvae_config": config_, "gvae_model": facts, "state_dict": weights}, path)
    restored = cli.restore(path, data_roots=[tmp_path / "data"])
    opened = Opened("foreign", *restored[:3], withheld=restored.withheld)
    with pytest.raises(DataError, match="needs the images of mnist" if allowed else "app.data_roots=.*home"):
        opened.subject  # noqa: B018
    assert (restored.withheld is None) == allowed
    assert cli.restore(path).withheld is None  # by the caller's word


def test_data_are_cached_where_the_user_wants_it(stored, tmp_path):
    run_cfg = OmegaConf.create(
        {"data": {"cache_dir": "/etc/evil"}, "evaluation": {"cache_dir": "/etc/evil"}, "model": {}}
    )
    _without_cache(run_cfg, str(tmp_path))
    assert run_cfg.data.cache_dir == run_cfg.evaluation.cache_dir == str(tmp_path)
