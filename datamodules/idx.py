"""Reader of IDX files of bytes, the format of MNIST: plain or gzipped, and strict about what it accepts."""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import DataError

__all__ = ["read_idx"]

BYTES = 0x08  # IDX type code of unsigned bytes
GZIP = b"\x1f\x8b"
MOST_INFLATED = 1032  # bytes that deflate can make of one
CHUNK = 1 << 20


def read_idx(path: Path, ndim: int) -> npt.NDArray[np.uint8]:
    """Array of an IDX file of unsigned bytes, read-only.

    The file starts with the magic number ``00 00 08 ndim`` and ``ndim`` big-endian 32-bit sizes; the bytes follow.
    Whether it is gzipped is told by its first two bytes, not by its name.

    Args:
        path: The file.
        ndim: Number of dimensions it must have: 3 for images, 1 for labels.

    Raises:
        DataError: The file cannot be opened, the gzip stream is damaged or cut off, the magic number is another one,
            or there are fewer or more bytes than the sizes say.

    References:
        LeCun, Cortes, Burges, The MNIST database of handwritten digits, section "File formats".
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if file.peek(2)[:2] != GZIP:
                return _array(file, path, ndim, size)
            with gzip.open(file) as content:
                return _array(content, path, ndim, MOST_INFLATED * size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or cut off gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _array(stream: BufferedIOBase, path: Path, ndim: int, most: int) -> npt.NDArray[np.uint8]:
    """Read up to ``most`` bytes in place: one more copy of MNIST would be more memory than training it takes."""
    magic, sizes = bytes([0, 0, BYTES, ndim]), 4 * ndim
    start = stream.read(4)
    if start != magic:
        raise DataError(
            f"{path} must start with the IDX magic number {magic.hex(' ')} (bytes, {ndim} dimension(s)),"
            f" found {start.hex(' ') or 'nothing'}; it is another file or a damaged one"
        )
    header = stream.read(sizes)
    if len(header) < sizes:
        raise DataError(f"{path} ends inside its IDX header ({4 + len(header)} of {4 + sizes} bytes); fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    expected = math.prod(shape)
    # Sizes that are damaged can be anything: no memory is asked for what the file cannot hold.
    array = np.empty(expected if expected <= most else 0, dtype=np.uint8)
    found, view = 0, array.data
    while count := stream.readinto(view[found : found + CHUNK]):
        found += count
    while rest := stream.read(CHUNK):  # to the end: there the checksum of a gzipped file is verified
        found += len(rest)
    if found != expected:
        raise DataError(
            f"{path} must hold {expected} bytes after its header, as its sizes {shape} say, found {found};"
            f" it is {'cut off' if found < expected else 'too long'}; fetch it again"
        )
    array.flags.writeable = False
    return array.reshape(shape)
