"""Arrays in NumPy's files, mapped into memory and without pickles: ``.npy``, and ``.npz`` packed or not."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.prepared import prepared_array
from lightning_gvae.errors import DataError
from lightning_gvae.io.content import text_hash

__all__ = ["ArrayFile", "array_names", "open_array"]

LOCAL_HEADER = struct.Struct("<26xHH")  # of a file in a zip archive: lengths of its name and of what follows
PIECE = 2**24  # bytes unpacked at a time
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError)

Array = npt.NDArray[Any]


class ArrayFile(NamedTuple):
    """An array that lies in a file.

    Args:
        path: The file.
        name: Of the array in an ``.npz``; empty for an ``.npy``.
        shape: Its shape.
        dtype: Its type.
        fortran: Whether the first index varies fastest.
        start: Byte of the file where it begins; None if it is packed.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int | None

    @property
    def what(self) -> str:
        """Words for it, for messages."""
        return f"`{self.name}` in {self.path}" if self.name else str(self.path)

    def read(self, cache_dir: Path | None = None) -> Array:
        """The array, read-only and memory-mapped; a packed one is unpacked into the cache at the first time.

        Raises:
            DataError: The file is damaged or cut off, or the cache cannot be written.
        """
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        if self.start is not None:
            try:
                return np.memmap(self.path, self.dtype, "r", self.start, self.shape, order)
            except (ValueError, OSError) as error:
                raise DataError(f"{self.what} is damaged or cut off ({error}); fetch or write it again") from error
        status = self.path.stat()
        key = text_hash(f"{self.path.resolve()}/{self.name}/{status.st_size}/{status.st_mtime_ns}")
        shape = self.shape[::-1] if self.fortran else self.shape
        made = prepared_array(self.path.stem, key, shape, self.dtype, self._unpacked, cache_dir)
        return made.T if self.fortran else made

    def _unpacked(self) -> Iterator[Array]:
        shape = self.shape[::-1] if self.fortran else self.shape
        row = int(np.prod(shape[1:])) * self.dtype.itemsize
        step, left = max(1, PIECE // max(1, row)), shape[0]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as stream:
                _header(stream, self.what)
                while left:
                    content = stream.read(min(step, left) * row)
                    if len(content) < min(step, left) * row:
                        raise DataError(f"{self.what} is cut off; fetch or write it again")
                    yield np.frombuffer(content, self.dtype).reshape(-1, *shape[1:])
                    left -= min(step, left)
                stream.read(1)  # at the end its checksum is compared
        except DAMAGED as error:
            raise DataError(f"{self.what} is damaged or cut off ({error}); fetch or write it again") from error


def array_names(path: Path) -> list[str]:
    """Names of the arrays of an ``.npz``; of an ``.npy`` one empty name.

    Raises:
        DataError: The file is missing or neither of them.
    """
    if not path.is_file():
        raise DataError(f"{path} was not found; give the path of an .npy or .npz file")
    try:
        if not zipfile.is_zipfile(path):
            return [""]
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (*DAMAGED, OSError) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); fetch or write it again") from error


def open_array(path: Path, name: str = "") -> ArrayFile:
    """Facts about an array, of which only the head is read.

    Args:
        path: An ``.npy``, or an ``.npz`` as ``np.savez`` and ``np.savez_compressed`` write it.
        name: Of the array in an ``.npz``.

    Raises:
        DataError: The file is missing, damaged or something else, has no array of that name, or the array holds Python
            objects: those would be pickles, which are never loaded.
    """
    known = array_names(path)
    if name not in known:
        there = f"the arrays {', '.join(known)}" if known != [""] else "a single array without a name"
        raise DataError(f"{path} has no array {name!r}; it has {there if known else 'no arrays'}")
    try:
        if not name:
            with path.open("rb") as file:
                return _file(path, "", file, file.tell)
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as stream:
                facts = _header(stream, f"`{name}` in {path}")
            if info.compress_type != zipfile.ZIP_STORED:
                return ArrayFile(path, name, *facts, None)
        with path.open("rb") as file:
            file.seek(info.header_offset)
            file.seek(sum(LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))), 1)
            return _file(path, name, file, file.tell)
    except (*DAMAGED, OSError, RuntimeError) as error:  # RuntimeError: it is encrypted
        raise DataError(f"{path} is damaged, encrypted or cut off ({error}); fetch or write it again") from error


def _file(path: Path, name: str, file: IO[bytes], tell: Any) -> ArrayFile:
    facts = _header(file, f"`{name}` in {path}" if name else str(path))
    return ArrayFile(path, name, *facts, tell())


def _header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, type and order."""
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except ValueError as error:
        raise DataError(f"{what} is no array in NumPy's format: {error}") from error
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, which would be a pickle and could run anything, so it is not loaded; save "
            "the array as numbers"
        )
    return shape, dtype, fortran
