import errno
import os
import zipfile
from pathlib import Path

import pytest

from lightning_gvae.datamodules import image_files
from lightning_gvae.datamodules.decode import UnreadableImageError
from lightning_gvae.datamodules.image_files import MAX_BYTES, FolderFiles, ZipFiles, listed, open_files
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
        assert files.others() == {".txt": 1} and files.unreadable() == {}
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


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/etc/evil.png", "a\\..\\evil.png", "C:\\evil.png", "\\\\host\\evil.png"],
)
def test_an_archive_that_names_files_outside_itself_is_refused(tmp_path, name):
    path = archive(tmp_path, ["good.png"])
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(as_on_windows(name), name)
    with pytest.raises(DataError, match="files.zip names a file outside itself, .*; it is not to be trusted"):
        open_files(path)
    assert not (tmp_path.parent / "evil.png").exists()


def as_on_windows(name: str) -> zipfile.ZipInfo:
    """A member whose name keeps its backslashes."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def test_an_archive_with_the_separator_of_windows_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as file:
        for name in ("b\\2.JPG", "b\\c\\1.png", "a.jpeg", "notes\\readme.txt", "__MACOSX\\5.jpg"):
            file.writestr(as_on_windows(name), name)
    files = ZipFiles(tmp_path / "w.zip")
    assert files.names() == IMAGES and files.read("b/c/1.png") == b"b\\c\\1.png"
    assert files.others() == {".txt": 1} and files.has("notes/readme.txt") and not files.has("nothing.txt")


def test_members_that_are_encrypted_or_links_are_reported(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("locked.png", "secret")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the directory of the archive
    (tmp_path / "x.zip").write_bytes(content)
    files = ZipFiles(tmp_path / "x.zip")
    for name, reason in {
        "link.png": "is a link, which is not followed in an archive",
        "locked.png": "is encrypted; pack the archive without a password",
        "none.png": "No such file in the archive",
    }.items():
        with pytest.raises(UnreadableImageError, match=reason):
            files.read(name)


def test_what_is_no_ordinary_file_is_reported_and_folders_may_be_named_like_images(tmp_path, monkeypatch):
    place = folder(tmp_path, ["folder.png/1.png"])
    (place / "dangling.png").symlink_to("/nonexistent")
    os.mkfifo(place / "pipe.png")
    (place / "large.png").write_bytes(bytes(100))
    files = FolderFiles(place)
    assert files.names() == ["dangling.png", "folder.png/1.png", "large.png", "pipe.png"]
    assert files.read("folder.png/1.png") == b"folder.png/1.png"
    files.fingerprint(files.names())
    monkeypatch.setattr(image_files, "MAX_BYTES", 99)
    for name, reason in {
        "dangling.png": "No such file or directory at the end of a link",
        "pipe.png": "is no ordinary file",
        "folder.png": "is no ordinary file",
        "large.png": "is 100 bytes long",
    }.items():
        with pytest.raises(UnreadableImageError, match=reason):
            files.read(name)


def test_files_and_folders_that_may_not_be_read_are_reported(tmp_path, monkeypatch):
    place = folder(tmp_path, ["a.png", "closed/b.png"])
    if os.geteuid() == 0:  # who may read everything
        monkeypatch.setattr(Path, "read_bytes", denied)
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: denied(path) if "closed" in str(path) else scandir(path))
    else:
        (place / "a.png").chmod(0)
        (place / "closed").chmod(0)
    files = FolderFiles(place)
    assert files.names() == ["a.png"] and files.unreadable() == {"closed": "Permission denied"}
    with pytest.raises(UnreadableImageError, match="Permission denied"):
        files.read("a.png")


def denied(path):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_other_files_in_words():
    assert listed({".txt": 3, "": 1}) == "3 .txt, 1 without a suffix"
    assert listed({f".{letter}": 1 for letter in "abcdefg"}).endswith("1 .e, ...")


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
