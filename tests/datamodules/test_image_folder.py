import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.pictures import photo, write


def module(root: Path, cache: Path, **settings: Any) -> ImageFolderDataModule:
    defaults: dict[str, Any] = {"cache_dir": cache, "val_size": 2, "test_size": 2}
    made = ImageFolderDataModule(root, **defaults | settings)
    made.prepare_data()
    made.setup()
    return made


def everything(made: ImageFolderDataModule) -> tuple[np.ndarray, np.ndarray]:
    """Images and targets in the order of the names."""
    images, targets = made.train_set.source.batch(np.arange(len(made.train_set.source)))
    return images.numpy(), targets.numpy()


@pytest.fixture
def folder(tmp_path):
    """Twelve images in three classes."""
    for number in range(12):
        write(tmp_path / "in" / "abc"[number % 3] / f"{number:02}.png", number, height=20 + number, width=30)
    return tmp_path / "in"


def test_the_classes_and_images_are_those_of_torchvision(folder, tmp_path):
    made = module(folder, tmp_path / "cache", image_size=16, labels="folders")
    theirs = ImageFolder(str(folder), transforms.Compose([transforms.Resize(16), transforms.CenterCrop(16)]))
    images, targets = everything(made)
    assert made.spec.class_names == tuple(theirs.classes) and made.spec.num_classes == 3
    assert targets.tolist() == theirs.targets
    assert np.array_equal(images, [np.asarray(image).transpose(2, 0, 1) for image, _ in theirs])


def test_parts_are_cut_by_the_seed(folder, tmp_path):
    made = module(folder, tmp_path / "cache", val_size=3, test_size=4)
    parts = [part.indices.tolist() for part in (made.train_set, made.val_set, made.test_set)]
    assert [len(part) for part in parts] == [5, 3, 4]
    assert sorted(itertools.chain(*parts)) == list(range(12))


def test_an_archive_is_read_in_place(folder, tmp_path):
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    one, other = (module(place, tmp_path / "cache", labels="folders") for place in (folder, packed))
    for mine, theirs in zip(everything(one), everything(other), strict=True):
        assert np.array_equal(mine, theirs)
    assert one.spec == other.spec
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "in", "in.zip"]


def test_sizes_and_colours(folder, tmp_path):
    made = module(folder, tmp_path / "cache", image_size=[10, 14], channels=1)
    assert made.spec.image_shape == (1, 10, 14) and made.spec.num_classes is None
    images, targets = everything(made)
    assert images.shape == (12, 1, 10, 14) and not targets.any()


def test_folders_may_be_the_parts(tmp_path):
    for number in range(12):
        part = ("Train", "val", "test")[number % 3]
        write(tmp_path / "in" / part / "xy"[number % 2] / f"{number:02}.png", number)
    made = module(tmp_path / "in", tmp_path / "cache", partition="folders", labels="folders", image_size=[40, 30])
    assert made.spec.class_names == ("x", "y")
    for position, part in enumerate((made.train_set, made.val_set, made.test_set)):
        images, targets = part.batch(range(4))
        numbers = sorted(range(position, 12, 3), key=lambda n: (n % 2, n))
        assert targets.tolist() == [number % 2 for number in numbers]
        assert np.array_equal(images, [photo(number).transpose(2, 0, 1) for number in numbers])
    with pytest.raises(ConfigError, match="holds the folders Train, test, val, which look like parts and not like lab"):
        module(tmp_path / "in", tmp_path / "cache", labels="folders")


def test_parts_that_are_missing_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="in holds no images in a folder train or val or test; `partition=folders`"):
        module(folder, tmp_path / "cache", partition="folders")


def test_labels_from_a_table(folder, tmp_path):
    rows = [f"{number:02}.png,{('odd', 'even', '')[number % 3]}" for number in range(11, 0, -1)]
    (folder / "labels.csv").write_text("\n".join(["file,kind", *rows, "a/00.png,odd"]))
    made = module(folder, tmp_path / "cache", labels="labels.csv", label_column="kind")
    assert made.spec.class_names == ("(none)", "even", "odd")
    assert everything(made)[1].tolist() == [2] * 4 + [1] * 4 + [0] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"labels.csv cannot be read .*; `labels` must be none, folders or the path of a CSV file"),
        ("", "labels.csv must have the columns file and label, found none"),
        ("file,kind\n00.png,a", r"must have the columns file and label, found \['file', 'kind'\]"),
        ("file,label\n00.png,a", "labels.csv has no row for a/03.png and 10 others; add them"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, tmp_path, text, message):
    if text is not None:
        (folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        module(folder, tmp_path / "cache", labels="labels.csv")


def test_an_image_without_a_folder_has_no_label(folder, tmp_path):
    write(folder / "00.png", 1)
    with pytest.raises(DataError, match="00.png lies in no folder that could be its label; put every class into a fol"):
        module(folder, tmp_path / "cache", labels="folders")


def test_an_unreadable_image_is_named_or_skipped_with_its_label(folder, tmp_path, capsys):
    (folder / "b" / "04.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="b/04.png cannot be decoded"):
        module(folder, tmp_path / "cache", labels="folders")
    made = module(folder, tmp_path / "cache", labels="folders", on_error="skip")
    assert everything(made)[1].tolist() == [0] * 4 + [1] * 3 + [2] * 4
    assert "image_folder: 1 of 12 images are left out" in capsys.readouterr().err


def test_an_empty_folder_and_none_at_all(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"in holds no images \(\.bmp, .*\.webp\)"):
        module(tmp_path / "in", tmp_path / "cache")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        module(tmp_path / "nowhere", tmp_path / "cache")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "official"}, "`partition` must be random or folders, got 'official'"),
        ({"image_size": [1, 2, 3]}, r"`image_size` must be one number or \[height, width\], got \[1, 2, 3\]"),
        ({"image_size": 0}, "`height` must be an integer of at least 1"),
        ({"channels": 2}, "`channels` must be 1 .grey. or 3"),
    ],
)
def test_settings_that_mean_nothing_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        ImageFolderDataModule("anywhere", **settings)


def test_the_faces_of_lfw(data_dir, tmp_path):
    made = module(
        data_dir / "faces_lfw_gray64", tmp_path, channels=1, labels="labels.csv", label_column="emotion", val_size=500
    )
    images, targets = everything(made)
    assert images.shape == (11_549, 1, 64, 64)
    assert (images / np.float32(255)).mean(dtype=float) == pytest.approx(0.4754, abs=5e-5)
    assert (images / np.float32(255)).std(dtype=float) == pytest.approx(0.2077, abs=5e-5)
    histogram = dict(zip(made.spec.class_names, np.bincount(targets).tolist(), strict=True))
    listed = {"neutral": 6077, "happiness": 4778, "surprise": 324, "anger": 201, "sadness": 109, "fear": 11}
    assert histogram == listed | {"(none)": 31, "disgust": 10, "contempt": 8}


def test_the_faces_of_orl(data_dir, tmp_path):
    made = module(
        data_dir / "orl_faces", tmp_path, channels=1, image_size=[112, 92], labels="folders", val_size=20, test_size=20
    )
    images, targets = everything(made)
    assert np.bincount(targets).tolist() == [10] * 39 and set(made.spec.class_names) == {f"s{n}" for n in range(2, 41)}
    theirs = ImageFolder(str(data_dir / "orl_faces"), transforms.Grayscale())
    assert np.array_equal(images[:, 0], [np.asarray(image) for image, _ in theirs])
    assert targets.tolist() == theirs.targets
