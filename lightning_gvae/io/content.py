"""Hashes of plain content: text, files, arrays, weights.

Names of cached files and identities in stored results hold these hashes, so each formula stays as it is.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # text needs no torch
    from torch import Tensor

__all__ = [
    "array_hash",
    "batch_hash",
    "file_hash",
    "file_sample_hash",
    "pieces",
    "tensor_pieces",
    "text_hash",
    "weights_hash",
]

CHUNK = 2**24  # bytes hashed at once
WHOLE = 2**26  # bytes of a set of files of which all are read
END = 2**14  # bytes from each end of a sampled file
SAMPLED_FILES = 1024


def text_hash(text: str, size: int = 8) -> str:
    """Hash of a text, ``size`` bytes in hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def file_hash(path: Path, size: int = 8) -> str:
    """Hash of the content of a file, ``size`` bytes in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=size)).hexdigest()


def file_sample_hash(folder: Path, names: Iterable[str]) -> str:
    """Hash of where files are, what they are called, and of their sizes, times and content.

    Up to 64 MB the content of all files counts; of more, both ends of 1,024 files, spread evenly. So a folder that
    takes the place of another one with the same names, sizes and times is noticed without reading all of a large data
    set.

    Args:
        folder: The folder; its absolute path without links is part of the hash.
        names: Of the files, relative to ``folder``, with ``/`` between folders.

    A file that cannot be read counts with the number of its error, and one that is no ordinary file without content.
    """
    digest = hashlib.blake2b(digest_size=16)
    place = folder.resolve()
    digest.update(str(place).encode("utf-8", "surrogateescape") + b"\0")
    sizes: dict[str, int] = {}
    for name in names:
        try:
            status = os.stat(f"{place}/{name}")
            stamp = f"{name}/{status.st_size}/{status.st_mtime_ns}"
            if stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                sizes[name] = status.st_size
        except OSError as error:
            stamp = f"{name}/{error.errno}"
        digest.update(stamp.encode("utf-8", "surrogateescape") + b"\0")
    whole = sum(sizes.values()) <= WHOLE
    every = 1 if whole else max(1, -(-len(sizes) // SAMPLED_FILES))
    for name in list(sizes)[::every]:
        try:
            digest.update(_ends(f"{place}/{name}", None if whole else END))
        except OSError as error:
            digest.update(str(error.errno).encode())
    return digest.hexdigest()


def _ends(path: str, length: int | None) -> bytes:
    """The first and the last ``length`` bytes of a file; None for all of it."""
    with open(path, "rb") as file:
        if length is None or os.fstat(file.fileno()).st_size <= 2 * length:
            return file.read()
        start = file.read(length)
        file.seek(-length, os.SEEK_END)
        return start + file.read(length)


def array_hash(*arrays: npt.NDArray[Any]) -> str:
    """Hash of the contents, shapes and types of arrays; a memory-mapped one is read piece by piece.

    >>> array_hash(np.zeros(3)) == array_hash(np.zeros(3))
    True
    >>> array_hash(np.zeros(3)) == array_hash(np.zeros((3, 1)))
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for piece in pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def weights_hash(weights: "Mapping[str, Tensor]") -> str:
    """Hash of the weights of a network, of any type, whatever their order and device."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        if value.dtype == torch.bfloat16:  # NumPy does not know it
            digest.update(b"bf16")
            value = value.view(torch.int16)
        array = np.ascontiguousarray(value.numpy())  # which makes one row of a single number
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        for piece in pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def batch_hash(batches: "Iterable[Tensor]") -> str:
    """Hash of tensors in their order: the content of a data set, batch by batch."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in batches:
        values = batch.detach().cpu()
        digest.update(f"{values.dtype}{tuple(values.shape)}".encode())
        for piece in tensor_pieces(values):
            digest.update(piece)
    return digest.hexdigest()


def tensor_pieces(values: "Tensor") -> Iterator[memoryview]:
    """The bytes of a strided tensor of any type and device, at most about 16 MB at a time."""
    import torch

    plain = values.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if plain.stride(0) != 1:  # with less than two numbers it may be any
        plain = plain.clone(memory_format=torch.contiguous_format)
    yield from pieces(plain.view(torch.uint8).numpy())


def pieces(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array, row by row, at most about 16 MB at a time."""
    if array.ndim == 0:
        array = array.reshape(1)
    rows = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8).data
