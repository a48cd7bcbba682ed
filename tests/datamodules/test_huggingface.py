"""Data sets of the library `datasets`, from local files of every kind, without a network."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gvae.errors import DataError

datasets = pytest.importorskip("datasets", reason="needs the extra datasets")

from lightning_gvae.datamodules.huggingface import HuggingFaceDataModule

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
LABELS = [number % 3 for number in range(24)]
NAMES = ["ash", "birch", "cedar"]


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def table(rows=slice(None), **columns):
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)})
    images = [Image.fromarray(image) for image in PIXELS[rows]]
    made = datasets.Dataset.from_dict({"picture": images, "kind": LABELS[rows]}, features=features)
    for name, values in columns.items():
        made = made.add_column(name, values[rows])
    return made


def module(path, folder, **options):
    settings = {"image_key": "picture", "image_size": 8, "cache_dir": folder / "cache", **options}
    data = HuggingFaceDataModule(path, **settings)
    data.prepare_data()
    data.setup()
    return data


def saved(folder):
    table().save_to_disk(str(folder / "saved"))
    return folder / "saved"


def parquet(folder):
    table().to_parquet(str(folder / "trees.parquet"))
    return folder / "trees.parquet"


def clone(folder):
    """As a data set of the hub lies on the disk: two files, and one that says nothing."""
    (folder / "clone" / "data").mkdir(parents=True)
    table(slice(0, 10)).to_parquet(str(folder / "clone" / "data" / "train-00000-of-00002.parquet"))
    table(slice(10, 24)).to_parquet(str(folder / "clone" / "data" / "train-00001-of-00002.parquet"))
    (folder / "clone" / "README.md").write_text("Trees.")
    (folder / "clone" / "dataset_infos.json").write_text("{}")
    return folder / "clone"


@pytest.mark.parametrize("make", [saved, parquet, clone])
def test_images_and_labels_are_those_of_the_files(make, tmp_path):
    path = make(tmp_path)
    data = module(path, tmp_path, label_key="kind")
    images, labels = data.train_set.source.batch(np.arange(24))
    assert torch.equal(images, torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)))
    assert labels.tolist() == LABELS
    assert data.spec.class_names == tuple(NAMES)
    assert data.part_sizes == {"train": 20, "val": 2, "test": 2}
    caches = [entry for entry in (tmp_path / "cache").iterdir() if entry.name.startswith("huggingface-train-")]
    assert len([entry for entry in caches if entry.is_dir()]) == 1
    again = module(path, tmp_path, label_key="kind")
    assert again.state_dict()["parts"]["digests"] == data.state_dict()["parts"]["digests"]


def test_splits_of_their_own_and_labels_of_text(tmp_path):
    words = [NAMES[label] for label in LABELS]
    parts = {"train": slice(0, 14), "validation": slice(14, 20), "test": slice(20, 24)}
    splits = {name: table(rows, word=words) for name, rows in parts.items()}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "trees"))
    options = {"label_key": "word", "channels": 1, "image_size": 4}
    data = module(tmp_path / "trees", tmp_path, splits={"val": "validation", "test": "test"}, **options)
    assert data.part_sizes == {"train": 14, "val": 6, "test": 4}
    assert data.spec.image_shape == (1, 4, 4)
    assert data.spec.class_names == tuple(NAMES)
    assert data.test_set.batch(np.arange(4))[1].tolist() == LABELS[20:]
    data = module(tmp_path / "trees", tmp_path, splits={"val": "validation"}, test_size=3, **options)
    assert data.part_sizes == {"train": 11, "val": 6, "test": 3}


def test_arrays_bytes_and_files_beside_are_images_too(tmp_path):
    grey = PIXELS[:, :, :, 0]
    made = datasets.Dataset.from_dict({"array": grey.tolist(), "floats": (grey / 255).tolist()})
    made = made.cast_column("array", datasets.Array2D((8, 8), "uint8"))
    made.to_parquet(str(tmp_path / "x.parquet"))
    for key in ("array", "floats"):
        data = module(tmp_path / "x.parquet", tmp_path, image_key=key, channels=1)
        assert torch.equal(data.train_set.source.batch(np.arange(24))[0], torch.from_numpy(grey[:, None]))
    paths = []
    for number, image in enumerate(PIXELS):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(paths[-1])
    datasets.Dataset.from_dict({"picture": paths}).cast_column("picture", datasets.Image()).save_to_disk(
        str(tmp_path / "beside")
    )
    data = module(tmp_path / "beside", tmp_path)
    assert torch.equal(data.train_set.source.batch(np.arange(24))[0], torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)))


def test_a_changed_file_is_decoded_anew(tmp_path):
    first = module(parquet(tmp_path), tmp_path).train_set.source.batch(np.arange(24))[0]
    datasets.Dataset.from_dict({"picture": [Image.fromarray(255 - image) for image in PIXELS]}).to_parquet(
        str(tmp_path / "trees.parquet")
    )
    second = module(tmp_path / "trees.parquet", tmp_path).train_set.source.batch(np.arange(24))[0]
    assert torch.equal(first, 255 - second)


def no_network(*arguments, **settings):
    raise ConnectionError("no route to host")


def test_what_cannot_be_read_is_said_in_one_paragraph(tmp_path, monkeypatch):
    path = parquet(tmp_path)
    for options, said in (
        ({"image_key": "image"}, "has no column 'image'; its columns are picture, kind: set data.image_key"),
        ({"label_key": "label"}, "has no column 'label'; its columns are picture, kind: set data.label_key"),
        ({"label_key": "picture"}, "must hold class labels, integers from 0, or texts"),
        ({"splits": {"train": "all"}}, "has no split 'all'; it has train: set data.splits.train"),
        ({"splits": {"val": "val"}}, "has no split 'val'"),
        ({"image_key": "kind"}, "cannot be decoded: the column 'kind' must be an image"),
    ):
        with pytest.raises(DataError, match=said):
            module(path, tmp_path, **options)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(path.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    for place, said in (
        (tmp_path / "nope.parquet", "was not found"),
        (tmp_path / "nope" / "nope" / "nope", "was not found"),
        (damaged, "cannot be read as a data set"),
        (tmp_path / "empty", "must be or hold files of .*found none; folders of images are read by"),
        ("somebody/trees", "is no file or folder here; if it is the name of a data set on the hub, data.download=true"),
    ):
        with pytest.raises(DataError, match=said):
            module(place, tmp_path)
    monkeypatch.setattr(datasets, "load_dataset_builder", no_network)
    with pytest.raises(DataError, match="somebody/trees cannot be read as a data set: no route to host; without"):
        module("somebody/trees", tmp_path, download=True)
