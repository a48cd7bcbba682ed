"""Arrays that are made once and mapped into memory from then on, however often a run starts."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lightning_gvae.datamodules.cache import alone, default_cache_dir, settle
from lightning_gvae.errors import DataError

__all__ = ["prepared_array"]

MARGIN = 2**24  # bytes of the disk that stay free

Array = npt.NDArray[Any]


def prepared_array(
    title: str,
    key: str,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    pieces: Callable[[], Iterable[Array]],
    cache_dir: Path | None = None,
) -> Array:
    """Array of the cache, read-only and memory-mapped; made if it is not there.

    It is written beside and renamed when it is whole, so a reader never sees half of it; of several processes that
    start at once one writes and the others wait.

    Args:
        title: What it is, for messages and for the name of the file.
        key: Hash of everything that decides its content.
        shape: Its shape.
        dtype: Its type.
        pieces: Makes its rows, some at a time, in their order.
        cache_dir: Folder of the caches; None is :func:`~lightning_gvae.datamodules.cache.default_cache_dir`.

    Raises:
        DataError: The cache cannot be written, or the pieces are not of that shape and type. What ``pieces`` raises
            passes through.
    """
    folder = (cache_dir or default_cache_dir()).expanduser()
    path = folder / f"{title}-{key}.npy"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with alone(path):
                if not path.is_file():  # another process may have made it while this one waited
                    _write(path, title, tuple(shape), np.dtype(dtype), pieces)
        return _read(path, tuple(shape), np.dtype(dtype))
    except OSError as error:
        raise DataError(
            f"the cache of {title} in {folder} cannot be written or read: {error.strerror or error}; make room there, "
            "or choose another folder with data.cache_dir"
        ) from error


def _write(
    path: Path, title: str, shape: tuple[int, ...], dtype: np.dtype, pieces: Callable[[], Iterable[Array]]
) -> None:
    needed, free = int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(path.parent).free
    if needed + MARGIN > free:
        raise DataError(
            f"the cache of {title} needs {needed / 1e6:.0f} MB in {path.parent}, where {free / 1e6:.0f} MB are free; "
            "make room there, or choose another folder with data.cache_dir"
        )
    partial = path.with_name(f"{path.name}.partial")
    rows = 0
    try:
        with partial.open("wb") as file, tqdm(total=shape[0], desc=f"prepare {title}", unit="row", delay=1) as bar:
            np.lib.format.write_array_header_1_0(
                file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            )
            for piece in pieces():
                if piece.dtype != dtype or piece.shape[1:] != shape[1:]:
                    raise DataError(
                        f"{title} must be rows of shape {shape[1:]} and type {dtype}, found {piece.shape[1:]} and "
                        f"{piece.dtype}"
                    )
                file.write(np.ascontiguousarray(piece).data)
                rows += len(piece)
                bar.update(len(piece))
            settle(file)
        if rows != shape[0]:
            raise DataError(f"{title} must be {shape[0]} rows, found {rows}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); delete it, and it is made again") from error
    if array.shape != shape or array.dtype != dtype:
        raise DataError(f"{path} is damaged; delete it, and it is made again")
    return array
