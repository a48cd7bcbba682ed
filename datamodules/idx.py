"""Reader of IDX files of bytes, the format of MNIST: plain or gzipped, and strict about what it accepts."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import DataError

__all__ = ["read_idx"]

BYTES = 0x08  # IDX type code of unsigned bytes
GZIP = b"\x1f\x8b"


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
    content = _content(path)
    magic = bytes([0, 0, BYTES, ndim])
    if content[:4] != magic:
        raise DataError(
            f"{path} must start with the IDX magic number {magic.hex(' ')} (bytes, {ndim} dimension(s)),"
            f" found {content[:4].hex(' ') or 'nothing'}; it is another file or a damaged one"
        )
    header = 4 + 4 * ndim
    if len(content) < header:
        raise DataError(f"{path} ends inside its IDX header ({len(content)} of {header} bytes); fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=ndim, offset=4))
    expected, found = math.prod(shape), len(content) - header
    if found != expected:
        raise DataError(
            f"{path} must hold {expected} bytes after its header, as its sizes {shape} say, found {found};"
            f" it is {'cut off' if found < expected else 'too long'}; fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or cut off gzip file ({error}); fetch it again") from error
