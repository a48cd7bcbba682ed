"""Image files in a folder or in a zip archive, which is read in place and never unpacked."""

import functools
import hashlib
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from lightning_gvae.datamodules.decode import UnreadableImageError
from lightning_gvae.errors import DataError
from lightning_gvae.io.content import file_sample_hash

__all__ = ["SUFFIXES", "FolderFiles", "ImageFiles", "ZipFiles", "listed", "open_files"]

SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
ENCRYPTED = 1  # flag of a file in a zip archive
MAX_BYTES = 2**28  # an image file this large is none; archives may claim any size


class ImageFiles(Protocol):
    """Image files by name."""

    place: Path

    def names(self) -> list[str]:
        """Names of all image files relative to ``place``, with ``/`` between folders, sorted."""
        ...

    def others(self) -> dict[str, int]:
        """Number of other files by their suffix, hidden ones not counted."""
        ...

    def unreadable(self) -> dict[str, str]:
        """Reason by name of the folders that cannot be looked into."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            UnreadableImageError: It cannot be read.
        """
        ...

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash that changes when one of the files is exchanged."""
        ...


class FolderFiles:
    """All image files below a folder; hidden files and folders are left out.

    Args:
        place: The folder.

    Raises:
        DataError: It does not exist or cannot be read.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        if not place.is_dir():
            raise DataError(f"{place} is not a folder; give the folder (or the zip archive) with the images")

    def names(self) -> list[str]:
        """Names of all image files below the folder, sorted."""
        return self._visit.images

    def others(self) -> dict[str, int]:
        """Number of other files by their suffix, hidden ones not counted."""
        return self._visit.others

    def unreadable(self) -> dict[str, str]:
        """Reason by name of the folders that cannot be looked into."""
        return self._visit.unreadable

    def read(self, name: str) -> bytes:
        """Content of a file."""
        path = self.place / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                raise UnreadableImageError("is no ordinary file")
            if status.st_size > MAX_BYTES:
                raise UnreadableImageError(f"is {status.st_size} bytes long")
            return path.read_bytes()
        except OSError as error:
            link = " at the end of a link" if path.is_symlink() else ""
            raise UnreadableImageError(f"{error.strerror or error}{link}") from error

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash of the folder's path, of names, sizes and times of modification, and of a sample of the content."""
        return file_sample_hash(self.place, names)

    @functools.cached_property
    def _visit(self) -> "_Visit":
        """The files below the folder.

        Links to folders are followed, but every folder is visited once, under its own name if it lies below ``place``
        and under the first link to it otherwise. A link to a folder above leads nowhere: images beside ``place`` are
        not of the set.
        """
        found = _Visit([], Counter(), {})
        seen = {_identity(folder) for folder in self.place.resolve().parents}
        waiting = [""]  # real folders first, then the links met in them
        while waiting:
            links: list[str] = []
            for prefix in waiting:
                self._look_below(prefix, seen, links, found)
            waiting = sorted(links)
        found.images.sort()
        return found

    def _look_below(self, start: str, seen: set[tuple[int, int] | None], links: list[str], found: "_Visit") -> None:
        """Take the files below a folder that is not seen yet; links to folders are put off."""
        folders = [start]
        while folders:
            prefix = folders.pop()
            identity = _identity(self.place / prefix)
            if identity is None or identity in seen:
                continue
            seen.add(identity)
            try:
                with os.scandir(self.place / prefix) as entries:
                    inside = [entry for entry in entries if not entry.name.startswith(".")]
            except OSError as error:
                found.unreadable[prefix.rstrip("/") or "."] = error.strerror or str(error)
                continue
            for entry in inside:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(f"{prefix}{entry.name}/")
                else:
                    found.take([prefix + entry.name])


class ZipFiles:
    """All image files in a zip archive. Threads may read at the same time.

    Args:
        place: The archive.

    Raises:
        DataError: It is missing or damaged, or names a file outside itself.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            self._archive = zipfile.ZipFile(place)
        except OSError as error:
            raise DataError(f"{place} cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise DataError(f"{place} is not a zip archive or is cut off{_page(place)}; fetch it again") from error
        # Archives made on Windows may have its separator between folders.
        self._infos = {info.filename.replace("\\", "/"): info for info in self._archive.infolist() if not info.is_dir()}
        for name, info in self._infos.items():
            if name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts:
                raise DataError(f"{place} names a file outside itself, {info.filename!r}; it is not to be trusted")

    def names(self) -> list[str]:
        """Names of all image files in the archive, sorted."""
        return self._visit.images

    def others(self) -> dict[str, int]:
        """Number of other files by their suffix, hidden ones not counted."""
        return self._visit.others

    def unreadable(self) -> dict[str, str]:
        """Nothing: an archive is one file."""
        return {}

    def has(self, name: str) -> bool:
        """Whether the archive holds a file, be it an image or not."""
        return name in self._infos

    def read(self, name: str) -> bytes:
        """Content of a file, be it an image or not."""
        if (info := self._infos.get(name)) is None:
            raise UnreadableImageError("No such file in the archive")
        if info.file_size > MAX_BYTES:
            raise UnreadableImageError(f"claims to be {info.file_size} bytes long")
        if info.flag_bits & ENCRYPTED:
            raise UnreadableImageError("is encrypted; pack the archive without a password")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UnreadableImageError("is a link, which is not followed in an archive")
        try:
            return self._archive.read(info)
        # RuntimeError and NotImplementedError: an unknown kind of encryption or compression.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise UnreadableImageError(str(error)) from error

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash of names, sizes and checksums."""
        infos = (self._infos[name] for name in names)
        return _hash(f"{info.filename}/{info.file_size}/{info.CRC}" for info in infos)

    @functools.cached_property
    def _visit(self) -> "_Visit":
        found = _Visit([], Counter(), {})
        hidden = (".", "__MACOSX")
        found.take(name for name in self._infos if not any(part.startswith(hidden) for part in name.split("/")))
        found.images.sort()
        return found


class _Visit(NamedTuple):
    """Files that were found: names of images, number of other files by suffix, reasons by unreadable folder."""

    images: list[str]
    others: Counter[str]
    unreadable: dict[str, str]

    def take(self, names: Iterable[str]) -> None:
        """Sort files by their suffix."""
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                self.images.append(name)
            else:
                self.others[suffix] += 1


def open_files(place: Path) -> FolderFiles | ZipFiles:
    """The files of a folder or of a zip archive.

    Raises:
        DataError: There is neither.
    """
    return ZipFiles(place) if place.suffix.lower() == ".zip" else FolderFiles(place)


def listed(others: Mapping[str, int]) -> str:
    """Numbers of files by suffix in words, the most frequent first: ``3 .txt, 1 without a suffix``."""
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {suffix or 'without a suffix'}" for suffix, count in ordered[:5]]
    return ", ".join(shown + (["..."] if len(ordered) > 5 else []))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Identity of a folder, the same under all its names; None if it cannot be looked at."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _page(place: Path) -> str:
    """Hosts of large files answer with a page when their quota is used up, and tools save it under the file's name."""
    with place.open("rb") as file:
        start = file.read(512).lstrip().lower()
    return " but a web page, such as hosts send when a quota is used up" if start.startswith(b"<") else ""


def _hash(stamps: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for stamp in stamps:
        digest.update(stamp.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
