"""Image files in a folder or in a zip archive, which is read in place and never unpacked."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from lightning_gvae.datamodules.decode import UnreadableImageError
from lightning_gvae.errors import DataError
from lightning_gvae.io.content import file_sample_hash

__all__ = ["SUFFIXES", "FolderFiles", "ImageFiles", "ZipFiles", "open_files"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MAX_BYTES = 2**28  # an image file this large is none; archives may claim any size


class ImageFiles(Protocol):
    """Image files by name."""

    place: Path

    def names(self) -> list[str]:
        """Names of all image files relative to ``place``, with ``/`` between folders, sorted."""
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
        """Names of all image files below the folder, sorted.

        Links to folders are followed, but every folder is visited once, under its own name if it lies below ``place``
        and under the first link to it otherwise. A link to a folder above leads nowhere: images beside ``place`` are
        not of the set.

        Raises:
            DataError: A folder below it cannot be read.
        """
        above = self.place.resolve()
        seen = {_identity(folder) for folder in above.parents}
        found: list[str] = []
        waiting = [""]  # real folders first, then the links met in them
        while waiting:
            links: list[str] = []
            for prefix in waiting:
                found += self._images_below(prefix, seen, links)
            waiting = sorted(links)
        return sorted(found)

    def _images_below(self, start: str, seen: set[tuple[int, int] | None], links: list[str]) -> Iterator[str]:
        """Names of the images below a folder that is not seen yet; links to folders are put off."""
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
                raise DataError(
                    f"{self.place / prefix} cannot be read: {error.strerror or error}; make it readable, or move "
                    "it out of "
                    f"{self.place}"
                ) from error
            for entry in inside:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(f"{prefix}{entry.name}/")
                elif _is_image(entry.name):
                    yield prefix + entry.name

    def read(self, name: str) -> bytes:
        """Content of a file."""
        try:
            return (self.place / name).read_bytes()
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error)) from error

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash of the folder's path, of names, sizes and times of modification, and of a sample of the content."""
        return file_sample_hash(self.place, names)


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
        except zipfile.BadZipFile as error:
            raise DataError(f"{place} is not a zip archive or is cut off{_page(place)}; fetch it again") from error
        self._infos = {info.filename: info for info in self._archive.infolist() if not info.is_dir()}
        for name in self._infos:
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                raise DataError(f"{place} names a file outside itself, {name!r}; it is not to be trusted")

    def names(self) -> list[str]:
        """Names of all image files in the archive, sorted."""
        hidden = (".", "__MACOSX")
        return sorted(
            name
            for name in self._infos
            if _is_image(name) and not any(part.startswith(hidden) for part in name.split("/"))
        )

    def read(self, name: str) -> bytes:
        """Content of a file."""
        if self._infos[name].file_size > MAX_BYTES:
            raise UnreadableImageError(f"claims to be {self._infos[name].file_size} bytes long")
        try:
            return self._archive.read(name)
        # RuntimeError: encrypted; NotImplementedError: an unknown method of compression.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise UnreadableImageError(str(error)) from error

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash of names, sizes and checksums."""
        infos = (self._infos[name] for name in names)
        return _hash(f"{info.filename}/{info.file_size}/{info.CRC}" for info in infos)


def open_files(place: Path) -> FolderFiles | ZipFiles:
    """The files of a folder or of a zip archive.

    Raises:
        DataError: There is neither.
    """
    return ZipFiles(place) if place.suffix.lower() == ".zip" else FolderFiles(place)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


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
