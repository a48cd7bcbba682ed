"""Which checkpoints the lab offers, and what it refuses to open."""

import os
import random
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_gvae import cli, load
from lightning_gvae.app.service.library import Library, Restored
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.errors import CheckpointError, ConfigError

VAE = "train/runs/vae/checkpoints/last.ckpt"


@pytest.fixture
def counting(settings, library, tmp_path):
    """A library over three copies of a checkpoint that counts how often a file is opened."""
    opened, model = [], library.open(library.find("train/runs/vae"))

    def restore(path):
        opened.append(path.name)
        threading.Event().wait(0.05)  # long enough for others to ask meanwhile
        return Restored({}, model.model, model._datamodule)

    for name in ("a.ckpt", "b.ckpt", "c.ckpt"):
        (tmp_path / name).write_bytes(b"x")
    return Library(replace(settings, root=tmp_path), restore), opened


def changed(library, path, change):
    """A copy of the VAE's checkpoint with something else in it."""
    checkpoint = torch.load(library.root / VAE, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


def test_checkpoints_are_listed_newest_first_relative_to_the_root(library):
    choices = library.choices()
    assert VAE in choices and "train/runs/gan/checkpoints/last.ckpt" in choices
    times = [(library.root / choice).stat().st_mtime for choice in choices]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("text", ["train/runs/vae", "train/runs/vae/checkpoints", VAE, f"  {VAE} "])
def test_a_run_its_checkpoints_and_a_file_all_lead_to_the_checkpoint(library, text):
    assert library.find(text) == library.root / VAE
    assert library.find(str(library.root / text.strip())) == library.root / VAE


def test_an_exported_model_is_offered_and_opened(library, settings, vae, tmp_path):
    load(library.root / VAE).save_pretrained(tmp_path / "exported")
    exports = Library(replace(settings, root=tmp_path), cli.restore)
    assert exports.choices() == ["exported/model.safetensors"]
    path = exports.find("exported")
    opened = exports.open(path)
    assert (opened.kind, opened.data_name, opened.latent_dim) == ("VAE", "digits", vae.latent_dim)
    assert len(opened.subject.data.test_set) == len(vae.subject.data.test_set)


def test_the_newest_checkpoint_below_any_other_folder(library):
    assert str(library.find("train").relative_to(library.root)) == library.choices()[0]


@pytest.mark.parametrize("text", ["nowhere", "", "  ", "a\0b", "x" * 5000, "train/runs/vae/../../nothing"])
def test_what_is_not_there_is_named(library, text):
    with pytest.raises(ConfigError, match=r"there is no folder or checkpoint|no folder was named"):
        library.find(text)


def test_a_folder_without_checkpoints(library):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        library.find("study/collapse")


@pytest.mark.parametrize("text", ["..", "../", "/", "train/../..", "link"])
def test_folders_outside_the_root_are_only_for_this_machine(library, settings, tmp_path, text):
    here = tmp_path / "inside"
    here.mkdir()
    (here / "link").symlink_to(tmp_path)
    closed = Library(replace(settings, root=here, host="0.0.0.0"), cli.restore)
    with pytest.raises(ConfigError, match="outside the folder"):
        closed.find(text)
    assert Library(replace(settings, root=here), cli.restore).folder("..") == tmp_path


def test_a_checkpoint_becomes_its_model(library, vae):
    stored = torch.load(library.root / VAE, weights_only=True)["state_dict"]
    weights = vae.model.state_dict()
    assert stored.keys() == weights.keys() and all(torch.equal(stored[name], weights[name]) for name in stored)
    assert not vae.model.training
    assert (vae.kind, vae.image_shape, vae.latent_dim, vae.data_name) == ("VAE", (1, 8, 8), 8, "digits")


def test_opening_leaves_the_random_generators_alone(library):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    cli.restore(library.root / VAE)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()  # noqa: NPY002


def test_many_who_ask_at_once_share_one_model(counting):
    library, opened = counting
    found = []
    threads = [threading.Thread(target=lambda: found.append(library.open(library.root / "a.ckpt"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["a.ckpt"] and len(found) == 8 and len(set(map(id, found))) == 1


def test_the_one_not_used_for_longest_makes_room(counting):
    library, opened = counting
    for name in ("a.ckpt", "b.ckpt", "a.ckpt", "c.ckpt", "a.ckpt", "b.ckpt"):
        library.open(library.root / name)
    assert opened == ["a.ckpt", "b.ckpt", "c.ckpt", "b.ckpt"]


def test_a_file_written_anew_is_opened_anew(counting):
    library, opened = counting
    library.open(library.root / "a.ckpt")
    (library.root / "a.ckpt").write_bytes(b"xy")
    library.open(library.root / "a.ckpt")
    assert opened == ["a.ckpt", "a.ckpt"]


def test_a_run_that_vanishes_is_named(library, tmp_path):
    copy = tmp_path / "run" / "last.ckpt"
    copy.parent.mkdir()
    shutil.copy(library.root / VAE, copy)
    library.open(copy)
    shutil.rmtree(copy.parent)
    with pytest.raises(CheckpointError, match=r"last.ckpt is no longer there"):
        library.open(copy)


def unknown_model(checkpoint):
    checkpoint["gvae_config"]["model"]["_target_"] = "lightning_gvae.models.vae.NoSuchModel"


def foreign_code(checkpoint):
    checkpoint["gvae_config"]["model"]["encoder"] = {"_target_": "torch.hub.load", "repo_or_dir": "x/y"}


def other_function(checkpoint):
    checkpoint["gvae_config"]["model"]["_target_"] = "lightning_gvae.cli.train.main"


def no_mapping(checkpoint):
    checkpoint["gvae_config"]["model"] = [1, 2]


def no_configuration(checkpoint):
    del checkpoint["gvae_config"]


def other_size(checkpoint):
    checkpoint["gvae_config"]["model"]["latent_dim"] = 3


def no_such_setting(checkpoint):
    checkpoint["gvae_config"]["model"]["wings"] = 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (unknown_model, "not of a model that this version knows.*NoSuchModel"),
        (foreign_code, "names torch.hub.load, which is no model and no data of this package"),
        (other_function, "names lightning_gvae.cli.train.main, which is no model"),
        (no_mapping, "not of a model that this version knows"),
        (no_configuration, "does not carry a configuration"),
        (other_size, "belongs to another model"),
        (no_such_setting, "not of a model that this version knows.*wings"),
    ],
)
def test_checkpoints_of_something_else_are_refused(library, tmp_path, change, expected):
    with pytest.raises(CheckpointError, match=expected):
        library.open(changed(library, tmp_path / "other.ckpt", change))


def test_files_that_are_no_checkpoints_are_refused(library, tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}, "gvae_config": {"model": os.system}}, tmp_path / "code.ckpt")
    for name, expected in (("text", "not a checkpoint|damaged"), ("code", "opened safely")):
        with pytest.raises(CheckpointError, match=expected):
            library.open(tmp_path / f"{name}.ckpt")
    assert all(slot.opened for slot in library._slots.values())  # they take nobody's place


def test_models_that_make_no_images_are_refused(vae):
    class Points(torch.nn.Module):
        image_shape = (7,)

    class Codes(torch.nn.Module):
        image_shape = (1, 8, 8)

    for model, expected in ((Points(), "images of 1 or 3 channels"), (Codes(), "no distribution over its codes")):
        with pytest.raises(CheckpointError, match=expected):
            Opened("x", {}, model, vae._datamodule)


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ('{"status": "finished"}', "finished"),
        ('{"status": "failed: RuntimeError: x"}', "failed"),
        ('{"status": "running", "process": {"host": "", "pid": 1}}', "running"),  # of another machine
        ('{"status": "running"}', "interrupted"),
        ("{", None),
        (None, None),
    ],
)
def test_what_became_of_a_run_is_read_from_its_record(record, status, tmp_path, settings):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").write_bytes(b"x")
    if record is not None:
        (folder / "run.json").write_text(record)
    library = Library(replace(settings, root=tmp_path), lambda path: Restored({}, None, None))
    (choice,) = library.choices()
    assert library.status(choice) == status
