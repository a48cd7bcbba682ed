import os
import zipfile
from pathlib import Path

import pytest

from lightning_gvae.datamodules.decode import UnreadableImageError
from lightning_gvae.datamodules.image_files import MAX_BYTES, FolderFiles, ZipFiles, open_files
from lightning_gvae.errors import DataError

NAMES = ["b/2.JPG", "b/c/1.png", "a.jpeg", "readme.txt", ".hidden/3.png", "b/.4.png", "__MACOSX/5.jpg"]
IMAGES = ["a.jpeg", "b/2.JPG", "b/c/1.png"]


def folder(tmp_path: Path, names=tuple(NAMES)) -> Path:
    for name in names:
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(name.encode())
    return tmp_path / "files"


def archive(tmp_path: Path, names=tuple(NAMES)) -> Path:
    path = tmp_path / "files.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)
    return path


def test_the_images_of_a_folder_and_of_an_archive_are_the_same(tmp_path):
    places = folder(tmp_path, NAMES[:-1]), archive(tmp_path)
    for files in map(open_files, places):
        assert files.names() == IMAGES
        assert files.read("b/2.JPG") == b"b/2.JPG"


def test_the_fingerprint_changes_with_what_is_asked_for_and_with_every_change_of_a_file(tmp_path):
    place = folder(tmp_path)
    files = FolderFiles(place)
    first = files.fingerprint(IMAGES)
    assert files.fingerprint(IMAGES) == first == FolderFiles(place).fingerprint(IMAGES)
    assert files.fingerprint(IMAGES[:2]) != first != files.fingerprint(IMAGES[::-1])
    os.utime(place / "a.jpeg", ns=(0, 1))
    second = files.fingerprint(IMAGES)
    assert second != first
    (place / "a.jpeg").write_bytes(b"longer than it was")
    os.utime(place / "a.jpeg", ns=(0, 1))
    assert files.fingerprint(IMAGES) not in (first, second)

    packed = archive(tmp_path)
    first = ZipFiles(packed).fingerprint(IMAGES)
    os.utime(packed, ns=(0, 1))
    assert ZipFiles(packed).fingerprint(IMAGES) == first
    with zipfile.ZipFile(packed, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a.jpeg", "another")
    assert ZipFiles(packed).fingerprint(IMAGES) != first


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "a\\..\\evil.png"])
def test_an_archive_that_names_files_outside_itself_is_refused(tmp_path, name):
    path = archive(tmp_path, ["good.png", name])
    with pytest.raises(DataError, match="files.zip names a file outside itself, .*; it is not to be trusted"):
        open_files(path)
    assert not (tmp_path.parent / "evil.png").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="files.zip is not a zip archive or is cut off; fetch it again"):
        open_files(path)
    path.write_text("\n<!DOCTYPE html><title>Google Drive - Quota exceeded</title>")
    with pytest.raises(DataError, match="is cut off but a web page, such as hosts send when a quota is used up"):
        open_files(path)
    with pytest.raises(DataError, match="no.zip cannot be read: No such file or directory"):
        open_files(tmp_path / "no.zip")
    with pytest.raises(DataError, match="nowhere is not a folder; give the folder"):
        open_files(tmp_path / "nowhere")


def test_members_that_cannot_be_read_are_reported_one_by_one(tmp_path):
    path = archive(tmp_path, ["aaaa.png", "bbbb.png"])
    path.write_bytes(path.read_bytes().replace(b"aaaa.pngaaaa.png", b"aaaa.pngAAAA.png", 1))
    files = ZipFiles(path)
    with pytest.raises(UnreadableImageError, match="Bad CRC-32"):
        files.read("aaaa.png")
    assert files.read("bbbb.png") == b"bbbb.png"
    files._infos["bbbb.png"].file_size = MAX_BYTES + 1
    with pytest.raises(UnreadableImageError, match=f"claims to be {MAX_BYTES + 1} bytes long"):
        files.read("bbbb.png")


def test_a_file_that_vanished_is_reported(tmp_path):
    with pytest.raises(UnreadableImageError, match="No such file"):
        FolderFiles(folder(tmp_path)).read("gone.png")
