"""Every image once, and every folder its own images."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_gvae.datamodules.image_files import FolderFiles, ZipFiles
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.errors import DataError
from lightning_gvae.io import content


def pictures(folder: Path, count: int = 20, value: int | None = None, suffix: str = "bmp") -> Path:
    """Uncompressed images of one size, all of one time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((8, 8, 3), number if value is None else value, np.uint8)
        path = folder / f"{number:03d}.{suffix}"
        Image.fromarray(pixels).save(path)
        os.utime(path, (1, 1))
    return folder


def packed(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for picture in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(picture.name, (1990, 1, 1, 0, 0, 0)), picture.read_bytes())
    os.utime(path, (1, 1))
    return path


def module(root: Path, cache: Path) -> ImageFolderDataModule:
    data = ImageFolderDataModule(root, image_size=8, val_size=4, test_size=4, batch_size=4, cache_dir=cache)
    data.prepare_data()
    data.setup()
    return data


def first_value(data: ImageFolderDataModule) -> int:
    return int(data.train_set.batch(np.array([0]))[0].flatten()[0])


def link(folder: Path, to: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(to)


LINKS: dict[str, list[tuple[str, str]]] = {
    "to itself": [("again", ".")],
    "to itself from below": [("below/again", "..")],
    "to the folder above": [("up", "..")],
    "to two above": [("below/up", "../../..")],
    "to the root of the disk": [("root", "/")],
    "to each other": [("a/b", "../c"), ("c/d", "../a")],
    "to a folder beside it": [("aaa", "real"), ("zzz", "real")],
    "to a link": [("one", "two"), ("two", "real")],
    "to nothing": [("nowhere", "nothing")],
}


@pytest.mark.parametrize("kind", LINKS)
def test_every_image_is_found_once_whatever_links_to_it(kind, tmp_path):
    pictures(tmp_path / "beside", 3)
    place = tmp_path / "in"
    pictures(place, 12), pictures(place / "real", 5)
    expected = FolderFiles(place).names()
    for name, target in LINKS[kind]:
        link(place / name, target)
    assert len(expected) == 17
    assert FolderFiles(place).names() == expected  # a folder is known by its own name
    data = module(place, tmp_path / "cache")
    parts = [set(part.indices.tolist()) for part in (data.train_set, data.val_set, data.test_set)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 17


def test_a_folder_elsewhere_is_read_through_its_first_link(tmp_path):
    pictures(tmp_path / "elsewhere", 4), pictures(tmp_path / "in", 2)
    for name in ("b", "a"):
        link(tmp_path / "in" / name, "../elsewhere")
    link(tmp_path / "elsewhere" / "back", "../in")
    names = FolderFiles(tmp_path / "in").names()
    assert names == ["000.bmp", "001.bmp", *(f"a/{number:03d}.bmp" for number in range(4))]


def test_the_place_itself_may_be_a_link(tmp_path):
    pictures(tmp_path / "real", 3)
    link(tmp_path / "link", "real")
    assert FolderFiles(tmp_path / "link").names() == FolderFiles(tmp_path / "real").names() != []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    pictures(tmp_path / "in", 20)
    (pictures(tmp_path / "in" / "secret", 2)).chmod(0)
    try:
        assert FolderFiles(tmp_path / "in").unreadable() == {"secret": "Permission denied"}
        with pytest.raises(DataError, match="cannot be looked into .first: secret, Permission denied"):
            module(tmp_path / "in", tmp_path / "cache")
    finally:
        (tmp_path / "in" / "secret").chmod(0o700)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_equal_names_sizes_and_times_are_not_equal_images(kind, tmp_path):
    places = [pictures(tmp_path / name / "in", value=value) for name, value in (("a", 0), ("b", 255))]
    if kind == "archive":
        places = [packed(place, place.with_suffix(".zip")) for place in places]
    sizes = [[path.stat().st_size for path in sorted(place.parent.rglob("*.*"))] for place in places]
    assert sizes[0] == sizes[1]
    assert [first_value(module(place, tmp_path / "cache")) for place in places] == [0, 255]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_another_set_that_takes_the_place_of_the_first_is_decoded(kind, tmp_path):
    seen = []
    for value in (0, 255):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        place = pictures(tmp_path / "in", value=value)
        seen.append(
            first_value(module(packed(place, tmp_path / "in.zip") if kind == "archive" else place, tmp_path / "c"))
        )
    assert seen == [0, 255]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_an_unchanged_set_is_decoded_once(kind, tmp_path):
    place = pictures(tmp_path / "in")
    place = packed(place, tmp_path / "in.zip") if kind == "archive" else place
    for _ in range(2):
        module(place, tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_of_a_large_set_a_sample_of_all_files_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "WHOLE", 100)
    monkeypatch.setattr(content, "SAMPLED_FILES", 5)
    monkeypatch.setattr(content, "END", 8)
    place = pictures(tmp_path / "in", 20)
    names = sorted(path.name for path in place.iterdir())
    opened = []
    usual = content._ends
    monkeypatch.setattr(
        content, "_ends", lambda path, length: opened.append((Path(path).name, length)) or usual(path, length)
    )
    before = FolderFiles(place).fingerprint(names)
    assert opened == [(names[number], 8) for number in range(0, 20, 4)]
    for number, changes in ((4, True), (5, False)):  # 5 is not in the sample: its time would tell
        path = place / names[number]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        os.utime(path, (1, 1))
        assert (FolderFiles(place).fingerprint(names) != before) == changes
        path.write_bytes(whole)
        os.utime(path, (1, 1))
    os.utime(place / names[5], (2, 2))
    assert FolderFiles(place).fingerprint(names) != before


def test_files_that_cannot_be_read_count_too(tmp_path):
    place = pictures(tmp_path / "in", 2)
    (place / "gone.png").symlink_to("nothing")
    names = FolderFiles(place).names()
    assert "gone.png" in names
    first = FolderFiles(place).fingerprint(names)
    assert first == FolderFiles(place).fingerprint(names)
    (place / "nothing").write_bytes(b"x")
    assert first != FolderFiles(place).fingerprint(names)


def test_the_checksums_of_an_archive_count(tmp_path):
    places = [
        packed(pictures(tmp_path / name, 3, value), tmp_path / f"{name}.zip") for name, value in (("a", 0), ("b", 1))
    ]
    names = ZipFiles(places[0]).names()
    assert ZipFiles(places[0]).fingerprint(names) != ZipFiles(places[1]).fingerprint(names)
