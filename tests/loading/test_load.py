"""``load``: any checkpoint becomes a model of its class, with the facts of its data, and what is none is refused."""

import json
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

import lightning_gvae
from lightning_gvae import EVAE, GAN, VAE, SolveVAE, TextVAE, load, models
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import CheckpointError
from lightning_gvae.loading.sources import checkpoint_in, local_path
from lightning_gvae.models.base import BaseModel
from lightning_gvae.nets.mlp import MLPDecoder, MLPEncoder
from lightning_gvae.schedules import DynamicController
from tests.compat.files import restore_checkpoint
from tests.compat.runs import write_data

STORED = Path(__file__).parent.parent / "data/checkpoints_0_1"
FAMILIES = sorted(folder.name for folder in STORED.iterdir())
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folder that stands for the one in which the stored runs were made, with its data."""
    folder = tmp_path_factory.mktemp("root")
    write_data(folder)
    return folder


class SetBeta(L.Callback):
    """Stands in for evolution."""

    def setup(self, trainer, pl_module, stage):
        pl_module.claim_beta("SetBeta")


def trained(model: BaseModel, path: Path, **options) -> Path:
    """Checkpoint of a run of two steps in plain Python."""
    callbacks: list[L.Callback] = [SetBeta()] if isinstance(model, EVAE) else []
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=2,
        max_epochs=-1,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        default_root_dir=path.parent,
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_last_release_loads(family, root):
    path = restore_checkpoint(STORED / family, root, f"{family}/last.ckpt")
    state, generator = torch.load(path, weights_only=True), torch.get_rng_state()
    model = load(path)
    assert torch.equal(torch.get_rng_state(), generator)
    assert type(model).__name__ == state.get("gvae_model", {"class": "ConvAutoencoder"})["class"]
    assert not model.training
    own = model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in state["state_dict"].items())
    facts = model.data_facts
    assert facts.name != "unknown" and facts.image_shape == tuple(model.image_shape)
    if isinstance(model, TextVAE):
        assert model.vocabulary is not None and len(model.vocabulary) == facts.image_shape[1]
        assert facts.value_range is None
    elif isinstance(model, SolveVAE):
        low, high = facts.value_range
        assert len(low) == len(high) == facts.image_shape[0]
    else:
        assert facts.value_range == (0, 1)


def test_a_run_in_plain_python_says_its_class_and_its_data(tmp_path):
    path = trained(EVAE(SHAPE, latent_dim=3), tmp_path / "model.ckpt")
    model = load(path)
    assert type(model) is EVAE and model.latent_dim == 3
    assert (model.data_facts.name, model.data_facts.num_classes) == ("digits", 10)
    assert model.origin.path == path and model.origin.step == 2


def test_a_checkpoint_of_a_subclass_opens_as_what_it_is(tmp_path):
    path = trained(EVAE(SHAPE, latent_dim=3), tmp_path / "model.ckpt")
    assert type(VAE.load_from_checkpoint(path)) is EVAE
    with pytest.raises(CheckpointError, match=r"class EVAE, which is no GAN; call EVAE\.load_from_checkpoint"):
        GAN.load_from_checkpoint(path)


def test_a_schedule_that_was_an_object_is_left_to_its_training(tmp_path):
    path = trained(VAE(SHAPE, 3, beta=50.0, schedule=DynamicController(6.0)), tmp_path / "model.ckpt")
    assert float(load(path).beta) < 50


def test_networks_that_were_objects_are_handed_over(tmp_path):
    networks = [(MLPEncoder(SHAPE, 3, hidden=[6]), MLPDecoder(SHAPE, 3, hidden=[6])) for _ in range(2)]
    path = trained(VAE(SHAPE, 3, network=networks[0]), tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"hand them over: lightning_gvae\.load\('model\.ckpt', network="):
        load(path)
    model = load(path, network=networks[1])
    assert torch.equal(model.encoder.head.weight, networks[0][0].head.weight)


def test_a_run_folder_stands_for_its_last_checkpoint(tmp_path):
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="neither an exported model"):
        checkpoint_in(tmp_path / "run")
    (checkpoints / "one.ckpt").touch()
    assert checkpoint_in(tmp_path / "run").name == "one.ckpt"
    (checkpoints / "two.ckpt").touch()
    with pytest.raises(CheckpointError, match="several checkpoints; name one"):
        checkpoint_in(tmp_path / "run")
    for name in ("best.ckpt", "last.ckpt"):
        (checkpoints / name).touch()
        assert checkpoint_in(tmp_path / "run").name == name
    with pytest.raises(CheckpointError, match="folder of several runs; name one: .*run"):
        checkpoint_in(tmp_path)


def test_what_is_not_there_is_named_with_all_that_could_be():
    with pytest.raises(CheckpointError, match=r"no file or folder 'nowhere/at/all'; give a checkpoint"):
        load("nowhere/at/all")
    with pytest.raises(CheckpointError, match="wandb:entity/project/name:version, got 'wandb:only-a-name'"):
        load("wandb:only-a-name")


def test_the_folder_pretrained_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_gvae.loading.sources.REPOSITORY", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "pretrained/vae").mkdir(parents=True)
    (tmp_path / "pretrained/vae/config.json").touch()
    assert local_path("pretrained/vae") == tmp_path / "pretrained/vae"


def spoilt(path: Path, change) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(gvae_class="os.system"), "cannot be opened: `_target_` must be below"),
        (lambda c: c.update(gvae_class="lightning_gvae.io.files.replace_file"), "neither a model nor a network"),
        (lambda c: c.update(gvae_class="lightning_gvae.callbacks.history.History"), "neither a model nor a network"),
        (lambda c: c.update(gvae_class="lightning_gvae.models.vae.Nope"), "check its spelling"),
        (lambda c: c["hyper_parameters"].update(latent_dim=7), "belongs to another model"),
        (lambda c: c["hyper_parameters"].update(network={"_target_": "torch.hub.load"}), "neither a model nor a netw"),
        (lambda c: c["state_dict"].pop("beta"), "not of a model that this version knows, or damaged"),
        (lambda c: c.update(gvae_data={"name": 1}), "facts of the data are damaged"),
        (lambda c: [c.pop(name) for name in ("gvae_class", "gvae_model")], "does not say which model it holds"),
    ],
)
def test_a_file_that_names_something_else_is_refused(change, message, tmp_path):
    path = spoilt(trained(VAE(SHAPE, 3), tmp_path / "model.ckpt"), change)
    with pytest.raises(CheckpointError, match=message):
        load(path)


class OwnVAE(VAE):
    """Of a user's package."""

    def __init__(self, image_shape, width: int = 6, **settings):
        super().__init__(image_shape, **settings)
        self.extra = nn.Linear(width, 1)


def test_a_class_of_a_users_package_needs_leave(tmp_path, monkeypatch):
    path = trained(OwnVAE(SHAPE, width=5, latent_dim=3), tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="GVAE_ALLOW_TARGETS"):
        load(path)
    monkeypatch.setenv("GVAE_ALLOW_TARGETS", "tests.loading.")
    model = load(path)
    assert type(model) is OwnVAE and model.extra.in_features == 5


def test_names_at_the_top_cost_nothing_until_they_are_used():
    script = """
import json, sys
import lightning_gvae
before = [name for name in ("torch", "lightning", "numpy", "hydra") if name in sys.modules]
kinds = {name: type(getattr(lightning_gvae, name)).__name__ for name in lightning_gvae.__all__}
print(json.dumps([before, kinds, sorted(set(lightning_gvae.__all__) - set(dir(lightning_gvae)))]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    before, kinds, hidden = json.loads(done.stdout)
    assert before == [] and hidden == []
    assert set(kinds.values()) == {"type", "ABCMeta", "function", "str"} - ({"ABCMeta"} - set(kinds.values()))
    assert lightning_gvae.VAE is VAE and set(models.__all__) <= kinds.keys()
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = lightning_gvae.Nope
