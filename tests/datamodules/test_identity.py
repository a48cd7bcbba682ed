"""Checkpoints know their data: what changes are seen, what is refused, and how many test items had been trained on."""

import itertools
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gvae.datamodules import identity
from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.datamodules.identity import DataRecord, Items, content_hashes, stored_record
from lightning_gvae.datamodules.identity_check import IdentityCheck
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.datamodules.parts import Rule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.rng import numpy_stream
from tests.datamodules.pictures import write

KEY = "ImageFolderDataModule"
RULE = Rule("names", 0)


def items(contents, names=None) -> Items:
    hashes = lambda numbers: np.array(list(numbers), np.uint64)
    return Items(hashes(contents), None if names is None else hashes(names))


def parts(train, val=range(100, 110), test=range(200, 210)) -> dict[str, Items]:
    return {"train": items(train), "val": items(val), "test": items(test)}


# Records.


def test_the_digest_sees_names_contents_and_their_pairing_but_no_order():
    pairs = list(zip(range(10), range(50, 60), strict=True))
    digest = lambda chosen: items(*zip(*chosen, strict=True)).digest
    first = digest(pairs)
    assert digest(pairs[::-1]) == first
    others = [pairs[1:], [(0, 99), *pairs[1:]], [(99, 50), *pairs[1:]], [(0, 51), (1, 50), *pairs[2:]]]
    assert len({first, *map(digest, others)}) == 5


def test_a_record_survives_a_checkpoint(tmp_path):
    record = DataRecord.of("some", parts(range(20)), RULE)
    torch.save({"Module": {"parts": record.state()}, "epoch": 3}, tmp_path / "x.ckpt")
    back = stored_record(torch.load(tmp_path / "x.ckpt", weights_only=True))
    assert back is not None and back.state().keys() == record.state().keys()
    assert not back.compare(parts(range(20))).changed and stored_record({"epoch": 3}) is None
    with pytest.raises(CheckpointError, match="the checkpoint's record of its data is damaged"):
        DataRecord.from_state({"name": "some"})


def test_changes_are_counted():
    record = DataRecord.of("some", parts(range(20)), RULE)
    found = record.compare(parts(range(5, 23), val=[100, 0, 1], test=[200, 2]))
    assert found.changed == ("train", "val", "test") and found.same_data and not found.estimated
    assert (found.added, found.gone, dict(found.trained_on)) == (3, 2, {"val": 2, "test": 1})
    assert not record.compare(parts(range(1000, 1020))).same_data
    assert record.compare(parts(range(20), test=range(200, 211))).changed == ("test",)


def test_what_was_trained_on_before_is_remembered():
    first = DataRecord.of("some", parts(range(20)), RULE)
    second = DataRecord.of("some", parts(range(10, 30)), RULE, first)
    assert second.compare(parts(range(10, 30), test=range(20))).trained_on["test"] == 20


def test_of_very_many_items_a_sample_is_kept(monkeypatch):
    monkeypatch.setattr(identity, "MOST", 1000)
    trained = content_hashes(np.arange(50_000)[:, None])
    record = DataRecord.of("some", {"train": Items(trained)}, RULE)
    assert len(record.trained) < 1200 and record.every == 50
    later = DataRecord.of("some", {"train": Items(content_hashes(np.arange(50_000, 55_000)[:, None]))}, RULE, record)
    assert later.every % record.every == 0
    found = later.compare({"train": Items(trained), "test": Items(trained[:10_000])})
    assert found.estimated and abs(found.trained_on["test"] - 10_000) < 4000


def test_contents_are_told_apart_by_every_byte():
    images = np.zeros((3, 1, 2, 2), np.uint8)
    images[2, 0, 1, 1] = 1
    hashes = content_hashes(images)
    assert hashes[0] == hashes[1] != hashes[2]


# Refusals.


def test_an_unknown_word_is_refused():
    with pytest.raises(ConfigError, match="`if_changed` must be one of refuse, accept, got 'ignore'"):
        ImageFolderDataModule("anywhere", if_changed="ignore")


def test_other_data_are_evaluated_and_what_they_share_is_said(capsys):
    stored = {"Module": IdentityCheck("old").state(parts(range(100)), RULE)}
    IdentityCheck("new").evaluate(stored, parts(range(1000, 1100), test=range(2000, 2010)), RULE)
    said = (
        "new: these are other data than the model was trained on (old). 0 of the 10 test images and 0 of the 10 validat"
    )
    assert said in capsys.readouterr().err
    shared = parts(range(1000, 1100), test=[*range(4), *range(2000, 2006)])
    with pytest.raises(
        CheckpointError, match="those that the checkpoint was trained on .old.. 4 of the 10 test images an"
    ):
        IdentityCheck("new").evaluate(stored, shared, RULE)
    IdentityCheck("new", repeats=True).evaluate(stored, shared, RULE)  # sentences that corpora have in common
    assert "4 of the 10 test" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="10 of the 10 test images"):
        IdentityCheck("new", repeats=True).evaluate(stored, parts(range(1000, 1100), test=range(10)), RULE)


def test_a_checkpoint_without_a_record_is_said_to_have_none(capsys):
    IdentityCheck("new").evaluate({"epoch": 1}, parts(range(10)), RULE)
    assert (
        "new: the checkpoint does not say which images it was trained on; test images may be" in capsys.readouterr().err
    )
    IdentityCheck("new").resume({}, parts(range(10)), RULE)


# Folders.


def filled(folder: Path, numbers=range(60)) -> Path:
    for number in numbers:
        write(folder / f"{number:02}.png", number, height=8, width=8)
    return folder


def module(root: Path, **settings) -> ImageFolderDataModule:
    defaults: dict[str, Any] = {
        "image_size": 8,
        "cache_dir": root.parent / "cache",
        "val_size": 10,
        "test_size": 10,
        "batch_size": 4,
    }
    made = ImageFolderDataModule(root, **defaults | settings)
    made.setup()
    return made


def checkpoint_of(made: ImageFolderDataModule) -> dict:
    return {KEY: made.state_dict()}


def renamed(root):
    (root / "07.png").rename(root / "zz.png")


def exchanged(root):
    write(root / "07.png", 777, height=8, width=8)


def removed(root):
    (root / "07.png").unlink()


def added(root):
    write(root / "zz.png", 777, height=8, width=8)


def relabelled(root):
    one, other = (root / "07.png").read_bytes(), (root / "08.png").read_bytes()
    (root / "07.png").write_bytes(other)
    (root / "08.png").write_bytes(one)


@pytest.mark.parametrize("sizes", [{}, {"val_size": 0.2, "test_size": 0.2}])
@pytest.mark.parametrize("change", [renamed, exchanged, removed, added, relabelled])
def test_a_run_does_not_go_on_with_changed_images(tmp_path, capsys, change, sizes):
    root = filled(tmp_path / "in")
    before = module(root, **sizes)
    state = before.state_dict()
    module(root, **sizes).load_state_dict(state)  # nothing has changed
    change(root)
    with pytest.raises(
        CheckpointError, match=r"the data have changed since .* \d+ of the \d+ test images and \d+ of the"
    ):
        module(root, **sizes).load_state_dict(state)
    accepting = module(root, if_changed="accept", **sizes)
    accepting.load_state_dict(state)
    names = lambda made, part: {made._names[index] for index in getattr(made, part).indices}
    leaked = names(accepting, "test_set") & names(before, "train_set")
    assert not leaked or change is exchanged  # an exchanged image keeps its name and its part
    assert "had been trained on. Gone on with, as data.if_changed=accept says" in capsys.readouterr().err
    assert accepting.train_dataloader().changed


def test_moving_a_folder_changes_nothing(tmp_path):
    state = module(filled(tmp_path / "in")).state_dict()
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    module(tmp_path / "elsewhere").load_state_dict(state)


@pytest.mark.parametrize("settings", [{"seed": 1}, {"val_size": 12}, {"test_size": 0.3}])
def test_other_parts_of_the_same_images_are_refused(tmp_path, settings):
    root = filled(tmp_path / "in")
    state = module(root).state_dict()
    with pytest.raises(CheckpointError, match=r"\d+ of the \d+ test images .* had been trained on"):
        module(root, **settings).load_state_dict(state)


def test_a_test_part_that_was_trained_on_is_not_evaluated(tmp_path, capsys):
    root = filled(tmp_path / "in")
    trained = module(root)
    stored = checkpoint_of(trained)

    def evaluated(**settings) -> ImageFolderDataModule:
        made = ImageFolderDataModule(
            root, 8, cache_dir=tmp_path / "cache", **{"val_size": 10, "test_size": 10} | settings
        )
        made.compare_with(stored)
        made.setup()
        return made

    evaluated()
    assert "trained on" not in capsys.readouterr().err
    contents = lambda made, part: set(made.part_items()[part].contents.tolist())
    other = module(root, seed=5)
    leaked = len(contents(other, "test") & contents(trained, "train"))
    assert leaked > 0
    with pytest.raises(CheckpointError, match=f"{leaked} of the 10 test images and .* data.if_changed=accept"):
        evaluated(seed=5)
    evaluated(seed=5, if_changed="accept")
    assert f"{leaked} of the 10 test images" in capsys.readouterr().err
    # The run that was told to go on remembers it.
    other = module(root, seed=5, if_changed="accept")
    other.load_state_dict(stored[KEY])
    stored = checkpoint_of(other)
    with pytest.raises(CheckpointError, match=f"the data had changed between .* {leaked} of the 10 test images"):
        evaluated(seed=5)


def test_images_moved_from_training_to_testing_are_found_by_their_content(tmp_path):
    root = tmp_path / "in"
    for part, number in itertools.product(("train", "val", "test"), range(4)):
        write(root / part / f"{part}{number}.png", hash((part, number)) % 1000, height=8, width=8)
    settings = {"partition": "folders"}
    stored = checkpoint_of(module(root, **settings))
    (root / "train" / "train0.png").rename(root / "test" / "new.png")
    made = ImageFolderDataModule(root, 8, cache_dir=tmp_path / "cache", **settings)
    made.compare_with(stored)
    with pytest.raises(
        CheckpointError, match="1 of the 5 test images and 0 of the 4 validation images had been trained"
    ):
        made.setup()


def test_another_seed_of_the_parts_is_named(tmp_path):
    root = filled(tmp_path / "in")
    state = module(root, split_seed=3).state_dict()
    with pytest.raises(
        CheckpointError, match="cut into parts by the seed 3, here it is 4, .*; go on with data.split_seed=3"
    ):
        module(root, split_seed=4).load_state_dict(state)
    module(root, split_seed=3, seed=9).load_state_dict(state)


def test_a_checkpoint_of_the_last_release_keeps_the_parts_of_its_permutation(tmp_path):
    root = filled(tmp_path / "in")
    made = ImageFolderDataModule(root, 8, cache_dir=tmp_path / "cache", val_size=10, test_size=10, split_seed=2)
    made.restore({"state_dict": {}})
    made.setup()
    order = numpy_stream(2, "split").permutation(60)
    assert np.array_equal(made.test_set.indices, order[:10]) and np.array_equal(made.val_set.indices, order[10:20])
    later = ImageFolderDataModule(root, 8, cache_dir=tmp_path / "cache", val_size=10, test_size=10, split_seed=2)
    later.restore({KEY: made.state_dict()})  # and so do those of the run that goes on
    later.setup()
    later.load_state_dict(made.state_dict())
    renewed = module(root, split_seed=2)
    renewed.restore({KEY: renewed.state_dict()})
    assert not renewed.permuted


def test_copies_in_several_parts_are_counted(tmp_path, capsys):
    root = filled(tmp_path / "in")
    test = module(root).test_set.indices[0]
    assert "byte for byte" not in capsys.readouterr().err
    content = sorted(root.iterdir())[test].read_bytes()
    for number in range(20):
        (root / f"copy{number}.png").write_bytes(content)
    module(root, val_size=0.1, test_size=0.5)
    assert "test images are byte for byte the same as training images" in capsys.readouterr().err


# In a run.


class Numbers(ImageDataModule):
    """Images that are their own number."""

    def __init__(self, count=30, if_changed="refuse"):
        super().__init__(DataSpec("numbers", (1, 1, 1)), 5, 3, batch_size=4, eval_batch_size=2, if_changed=if_changed)
        self.count = count

    def load(self):
        numbers = np.arange(self.count)
        return ImageArrays(numbers.astype(np.uint8).reshape(-1, 1, 1, 1), numbers), None


class Mean(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = 0

    def training_step(self, batch, batch_idx):
        self.seen += 1
        return ((self.weight - batch[1]) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def fit(folder: Path, data: Numbers, steps: int, resume: Path | None = None) -> Mean:
    model = Mean()
    saving = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving],
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        default_root_dir=folder,
    )
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    return model


@pytest.mark.parametrize("count", [12, 26, 30, 60])
@pytest.mark.parametrize("step", [2, 5])
def test_a_trainer_goes_on_with_more_or_fewer_images_when_told_to(tmp_path, count, step):
    fit(tmp_path / "a", Numbers(), step)
    resume = tmp_path / "a" / f"step={step}.ckpt"
    if count == 30:
        assert fit(tmp_path / "b", Numbers(), 9, resume).seen == 9 - step
        return
    with pytest.raises(CheckpointError, match="validation images had been trained on. Restore the data"):
        fit(tmp_path / "b", Numbers(count), 9, resume)
    assert fit(tmp_path / "b", Numbers(count, "accept"), 9, resume).seen == 9 - step


def test_data_of_another_class_are_compared_too(tmp_path):
    data = Numbers()
    data.setup()
    stored = {"state_dict": {}, "Numbers": data.state_dict()}
    made = ImageFolderDataModule(filled(tmp_path / "in"), 8, cache_dir=tmp_path / "cache")
    made.resume_from(stored)
    with pytest.raises(CheckpointError, match="the data are not those that the checkpoint was trained on .numbers."):
        made.setup()
