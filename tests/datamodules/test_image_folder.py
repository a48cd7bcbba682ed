import itertools
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lightning_gvae.datamodules.decode import DecodingSettings
from lightning_gvae.datamodules.image_files import FolderFiles
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


def test_parts_have_the_counts_asked_for(folder, tmp_path):
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
    made = module(folder, tmp_path / "cache", labels="folders", decoding={"on_error": "skip"})
    assert everything(made)[1].tolist() == [0] * 4 + [1] * 3 + [2] * 4
    assert "image_folder: 1 of 12 images are left out" in capsys.readouterr().err


def test_an_empty_folder_and_none_at_all(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"in holds no images \(\.apng, .*\.webp\), but 1 \.txt"):
        module(tmp_path / "in", tmp_path / "cache")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        module(tmp_path / "nowhere", tmp_path / "cache")


def test_files_that_are_left_out_are_counted(folder, tmp_path, capsys):
    for name in ("notes.txt", "b/more.txt", "a/x.heic", "labels.csv"):
        (folder / name).write_text("file,label\n00.png,x\n")
    module(folder, tmp_path / "cache")
    said = "4 files are left out, whose suffix is none of an image (2 .txt, 1 .csv, 1 .heic)"
    assert capsys.readouterr().err.count(said) == 1
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{number:02}.png,x\n" for number in range(12)))
    module(folder, tmp_path / "cache", labels="labels.csv")
    assert "3 files are left out" in capsys.readouterr().err


def test_folders_that_may_not_be_looked_into_are_refused_or_left_out(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FolderFiles, "unreadable", lambda self: {"closed": "Permission denied"})
    with pytest.raises(DataError, match=r"1 folder.s. in .* cannot be looked into .first: closed, Permission denied.;"):
        module(folder, tmp_path / "cache")
    module(folder, tmp_path / "cache", decoding={"on_error": "skip"})
    assert "1 folder(s) in" in capsys.readouterr().err


def test_images_without_a_row_are_refused_or_left_out(folder, tmp_path, capsys):
    (folder / "labels.csv").write_text(
        "file,label\n" + "".join(f"{n:02}.png,{n % 2}\n" for n in range(9)) + "gone.png,1\n"
    )
    with pytest.raises(
        DataError, match="has no row for a/09.png and 2 others; add them, or leave such images out with"
    ):
        module(folder, tmp_path / "cache", labels="labels.csv")
    made = module(folder, tmp_path / "cache", labels="labels.csv", decoding={"on_error": "skip"})
    assert everything(made)[1].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    said = capsys.readouterr().err
    assert "1 rows of labels.csv name no image here (first: gone.png)" in said and "3 of 12 images are left out" in said


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_an_archive_may_have_its_table_inside_or_beside(folder, tmp_path, place):
    table = "file,label\n" + "".join(f"{number:02}.png,{number % 2}\n" for number in range(12))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
        if place == "inside":
            archive.writestr("labels.csv", table)
    if place == "beside":
        (tmp_path / "labels.csv").write_text(table)
    made = module(tmp_path / "in.zip", tmp_path / "cache", labels="labels.csv")
    assert np.bincount(everything(made)[1]).tolist() == [6, 6]
    with pytest.raises(DataError, match="other.csv cannot be read"):
        module(tmp_path / "in.zip", tmp_path / "cache", labels="other.csv")


def test_an_archive_of_archives_is_said_to_be_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("images.zip", b"PK")
    with pytest.raises(DataError, match=r"in.zip holds no images .*, but 1 .zip; unpack the archive first"):
        module(tmp_path / "in.zip", tmp_path / "cache")


def test_names_that_are_not_utf8_are_shown_with_replacement_characters(tmp_path, capsys):
    for number, name in enumerate([b"caf\xe9", b"caf\xe8", b"th\xe9", b"tea"] * 3):
        place = os.path.join(os.fsencode(tmp_path), b"in", name)
        os.makedirs(place, exist_ok=True)
        write(Path(os.fsdecode(os.path.join(place, b"%d\xff.png" % number))), number)
    made = module(tmp_path / "in", tmp_path / "cache", labels="folders")
    assert made.spec.class_names == ("caf\\xe8", "caf\\xe9", "tea", "th\ufffd")
    "".join(made.spec.class_names).encode()
    damaged = next((tmp_path / "in" / "tea").iterdir())
    damaged.write_bytes(b"no image")
    module(tmp_path / "in", tmp_path / "cache", labels="folders", decoding={"on_error": "skip"})
    capsys.readouterr().err.encode("utf-8")
    (tmp_path / "in" / "labels.csv").write_text("file,label\nx.png,y\n")
    with pytest.raises(DataError) as refused:
        module(tmp_path / "in", tmp_path / "cache", labels="labels.csv")
    str(refused.value).encode("utf-8")


def test_conversions_are_counted(folder, tmp_path, capsys):
    image = Image.fromarray(photo(99, 30, 30))
    image.putalpha(100)
    image.save(folder / "a" / "clear.png")
    made = module(folder, tmp_path / "cache", decoding=DecodingSettings(background="black"), image_size=30)
    assert "1 of 13 images have transparent pixels, laid over black" in capsys.readouterr().err
    index = made._names.index("a/clear.png")
    assert everything(made)[0][index].max() <= 101
    white = module(folder, tmp_path / "cache", image_size=30)
    assert everything(white)[0][index].min() >= 154


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"decoding": {"background": "clear"}},
            "`decoding.background` must be a colour such as white, black or '#808080', got 'clear'",
        ),
        ({"decoding": {"value_range": [1]}}, r"`decoding.value_range` must be \[lowest, highest\], got \[1\]"),
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
