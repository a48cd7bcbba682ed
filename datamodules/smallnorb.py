"""Small NORB: 48,600 grey images of toys from many sides, under several lights."""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Unpack, cast

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.base import DataSpec, LoaderOptions
from lightning_gvae.datamodules.factors import (
    Classes,
    FactorDataModule,
    Images,
    RemoteFile,
    factor_classes,
    grid_order,
    lanczos,
    resized,
)
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.errors import DataError

__all__ = ["FACTORS", "SmallNORBDataModule", "read_matrix"]

BASE = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/smallnorb-"
CHUNKS = ("5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing")
KINDS = ("dat", "cat", "info")
SUMS = (
    *("66054832f9accfe74a0f4c36a75bc0a2", "23c8b86101fbf0904a000b43d3ed2fd9", "51dee1210a742582ff607dfd94e332e3"),
    *("e4ad715691ed5a3a5f138751a4ceb071", "5aa791cd7e6016cf957ce9bdb93b8603", "a9454f3864d7fd4bb3ea7fc3eb84924e"),
)
NAMES = tuple(f"smallnorb-{chunk}-{kind}.mat" for chunk in CHUNKS for kind in KINDS)
FACTORS = ("category", "instance", "elevation", "azimuth", "lighting")
TYPES = {0x1E3D4C55: "<u1", 0x1E3D4C54: "<i4", 0x1E3D4C56: "<i2", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
GZIP = b"\x1f\x8b"
MOST = 2**31  # bytes of a matrix; the largest official one has 448 MB
CHUNK = 256  # pairs of images read at a time


class SmallNORBDataModule(FactorDataModule):
    """Small NORB from its six official files, gzipped or not; of each pair of images the left one.

    Targets are the classes of (category, instance, elevation, azimuth, lighting), of 5, 10, 9, 18 and 6 values. The
    official training and test files hold different instances; here both are one grid, which is cut by ``split_seed``.

    Args:
        root: Folder of the files.
        image_size: 64, 32, 16 or 8; resized from 96 as disentanglement_lib does it.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        download: Fetch the files (430 MB) if they are not found; their MD5 sums are checked.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.
        DataError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.

    References:
        LeCun, Huang, Bottou, Learning Methods for Generic Object Recognition with Invariance to Pose and Lighting,
        2004.
    """

    FILES = tuple(
        RemoteFile(f"{BASE}{name.removeprefix('smallnorb-')}.gz", md5) for name, md5 in zip(NAMES, SUMS, strict=True)
    )

    def __init__(
        self,
        root: str | Path,
        image_size: int = 64,
        val_size: Size = 2500,
        test_size: Size = 5000,
        download: bool = False,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        spec = DataSpec("smallnorb", (1, 64, 64), factor_names=FACTORS, factor_sizes=(5, 10, 9, 18, 6))
        super().__init__(spec, root, image_size, val_size, test_size, download, cache_dir, **options)

    def found(self) -> list[Path]:
        """The six files: images, categories and other factors of the training and of the test part."""
        choices = [[self.root / name, self.root / f"{name}.gz"] for name in NAMES]
        paths = [next((path for path in pair if path.is_file()), None) for pair in choices]
        if missing := [name for name, path in zip(NAMES, paths, strict=True) if path is None]:
            raise self._missing(missing)
        return [path for path in paths if path is not None]

    def classes(self, files: Sequence[Path]) -> Classes:
        """Classes of all images, sorted."""
        found = _unsorted(files)
        return found[grid_order(found)]

    def pieces(self, files: Sequence[Path]) -> Iterator[Images]:
        """All left images, sorted by their factors."""
        small = [piece for path in files[::3] for piece in resized(_left(path), self.image_size, lanczos)]
        images, order = np.concatenate(small), grid_order(_unsorted(files))
        if len(images) != len(order):
            raise DataError(f"{files[0].parent} holds {len(images)} pairs of images and factors of {len(order)}")
        for start in range(0, len(order), CHUNK):
            yield images[order[start : start + CHUNK]]


class _Header(NamedTuple):
    dtype: np.dtype
    shape: tuple[int, ...]


def read_matrix(path: Path) -> npt.NDArray[Any]:
    """A matrix of NORB's format, plain or gzipped.

    The file starts with a magic number for the type and the number of dimensions, and at least three sizes, all of
    them little-endian 32-bit integers.

    Raises:
        DataError: The file cannot be read, is cut off or is something else.
    """
    header, pieces = _read(path, 2**62)
    return np.concatenate([np.empty((0, *header.shape[1:]), header.dtype), *pieces])


def _unsorted(files: Sequence[Path]) -> Classes:
    columns = []
    for start in range(0, len(files), len(KINDS)):
        category, info = (read_matrix(path) for path in files[start + 1 : start + 3])
        if category.ndim != 1 or info.shape != (len(category), 4) or category.dtype.kind + info.dtype.kind != "ii":
            raise DataError(
                f"{files[start + 2]} must hold four integers for each category in {files[start + 1].name}, found "
                f"shapes {info.shape} and {category.shape}"
            )
        columns.append(np.column_stack([category, info]))
    return factor_classes(np.concatenate(columns))


def _left(path: Path) -> Iterator[Images]:
    header, pieces = _read(path, CHUNK)
    if header.dtype != np.uint8 or len(header.shape) != 4 or header.shape[1] != 2:
        raise DataError(f"{path} must hold pairs of images, bytes (N, 2, H, W), found {header.dtype} {header.shape}")
    for piece in pieces:
        yield piece[:, 0]


def _read(path: Path, rows: int) -> tuple[_Header, Iterator[npt.NDArray[Any]]]:
    """Head of a matrix, and its content some rows at a time."""
    with _stream(path) as stream:
        header = _parsed(stream, path)
    return header, _pieces(path, rows)


def _pieces(path: Path, rows: int) -> Iterator[npt.NDArray[Any]]:
    with _stream(path) as stream:
        header = _parsed(stream, path)
        size = math.prod(header.shape[1:]) * header.dtype.itemsize
        left = header.shape[0]
        while left:
            wanted = min(rows, left)
            content = _content(stream, wanted * size, path)
            yield np.frombuffer(content, header.dtype).reshape(wanted, *header.shape[1:])
            left -= wanted
        if _content(stream, 1, path, exact=False):
            raise DataError(f"{path} is longer than its sizes {header.shape} say; it is another file or a damaged one")


def _parsed(stream: BinaryIO, path: Path) -> _Header:
    magic, ndim = np.frombuffer(_content(stream, 8, path), "<i4").tolist()
    if magic not in TYPES or not 1 <= ndim <= 8:
        raise DataError(f"{path} is no matrix of NORB's format (it starts with {magic:#x}); it is another file")
    sizes = np.frombuffer(_content(stream, 4 * max(3, ndim), path), "<i4").tolist()[:ndim]
    dtype = np.dtype(TYPES[magic])
    if min(sizes) < 0 or math.prod(sizes) * dtype.itemsize > MOST:
        raise DataError(f"{path} has the sizes {sizes}, which no file of NORB has; it is damaged")
    return _Header(dtype, tuple(sizes))


def _stream(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _content(stream: BinaryIO, size: int, path: Path, exact: bool = True) -> bytes:
    try:
        content = stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); fetch it again") from error
    if exact and len(content) < size:
        raise DataError(f"{path} is cut off; fetch it again")
    return content
