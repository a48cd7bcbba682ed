"""dSprites: 737,280 binary images of 64x64 pixels, one for each combination of five factors."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Unpack

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.datamodules import sprites
from lightning_gvae.datamodules.base import DataSpec, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import Batch, Indices
from lightning_gvae.datamodules.identity import Items
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["FILE", "DSpritesDataModule", "PackedSprites", "RenderedSprites", "read_packed"]

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
KINDS = {"unsigned integers": "bu", "integers": "iu", "floating point numbers": "f"}
SIZES = (64, 32, 16, 8)
CHUNK = 8192  # images read at a time: 32 MiB


class DSpritesDataModule(ImageDataModule):
    """dSprites, rendered batch by batch, or read from the official file.

    Without ``path`` nothing is stored and nothing is downloaded: a batch is computed from its indices by
    :mod:`lightning_gvae.datamodules.sprites`, which reproduces all 401 published images exactly. With ``path`` the
    official file is streamed and kept as packed bits, 378 MB instead of 3.0 GB.

    Images are 0 or 255. Targets are the classes of (shape, scale, orientation, posX, posY), counted from 0.
    Orientations 0 and 39 are the same angle, so 18,432 images of the data set are repeats, and parts that share no
    index can still share an image.

    Args:
        path: The official ``.npz`` file or its folder; None renders the images.
        image_size: 64, or 32, 16 or 8: means over squares of the original pixels, for small studies.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: From ``setup``: the file is missing, damaged, lacks a key, or its shapes, types, values or order are
            not those of the official file.

    References:
        Matthey, Higgins, Hassabis, Lerchner, dSprites: Disentanglement testing Sprites dataset, 2017.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        image_size: int = sprites.SIDE,
        val_size: int = 5000,
        test_size: int = 10_000,
        **options: Unpack[LoaderOptions],
    ) -> None:
        if image_size not in SIZES:
            raise ConfigError(f"`image_size` must be one of {', '.join(map(str, SIZES))}, got {image_size!r}")
        spec = DataSpec(
            "dsprites",
            (1, image_size, image_size),
            factor_names=sprites.FACTOR_NAMES,
            factor_sizes=sprites.FACTOR_SIZES,
            is_grid=True,
            binary=image_size == sprites.SIDE,
        )
        super().__init__(spec, val_size, test_size, **options)
        self.path = None if path is None else Path(path)
        self.image_size = image_size

    def load(self) -> "tuple[RenderedSprites, None]":
        """All images; there is no test set of their own."""
        if self.path is None:
            return RenderedSprites(self.image_size), None
        path = self.path.expanduser()
        return PackedSprites(read_packed(path / FILE if path.is_dir() else path), self.image_size), None


class RenderedSprites:
    """All images in the official order, each rendered when it is asked for."""

    def __init__(self, image_size: int = sprites.SIDE) -> None:
        self._factor = sprites.SIDE // image_size

    def __len__(self) -> int:
        return sprites.COUNT

    def batch(self, indices: Indices) -> Batch:
        """Images and factor classes at ``indices``."""
        images = torch.from_numpy(sprites.unpack(self.words(indices)))
        if self._factor > 1:
            squares = images.unflatten(2, (-1, self._factor)).unflatten(1, (-1, self._factor))
            images = (squares.sum(dim=(2, 4)) * 255 // self._factor**2).to(torch.uint8)
        else:
            images.neg_()  # modulo 256 takes 1 to 255
        return images.unsqueeze(1), torch.from_numpy(sprites.factors_of(indices))

    def items(self) -> Items:
        """The numbers of the images, which say what each shows."""
        return Items(np.arange(len(self), dtype=np.uint64))

    def words(self, indices: Indices) -> npt.NDArray[np.uint64]:
        """Packed rows ``(B, 64)`` of the images at ``indices``."""
        return sprites.render_packed(indices)


class PackedSprites(RenderedSprites):
    """All images in the official order, kept as packed rows ``(737280, 64)``."""

    def __init__(self, words: npt.NDArray[np.uint64], image_size: int = sprites.SIDE) -> None:
        super().__init__(image_size)
        self._words = words

    def words(self, indices: Indices) -> npt.NDArray[np.uint64]:
        """Packed rows ``(B, 64)`` of the images at ``indices``."""
        return self._words[indices]


def read_packed(path: Path) -> npt.NDArray[np.uint64]:
    """Packed rows ``(737280, 64)`` of the official file, which is streamed: at no time is it in memory as a whole.

    The pickled ``metadata`` of the file is never opened.

    Args:
        path: The ``.npz`` file.

    Raises:
        DataError: The file is missing, damaged, lacks a key, or its shapes, types, values or order are not those of
            the official file.
    """
    if not path.is_file():
        raise DataError(
            f"{path} was not found; put the official {FILE} there or give its place as `path`, or set `path` to null"
            " to render the same images without a download"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_order(archive, path)
            return _packed_images(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); fetch it again or set `path` to null") from error


def _packed_images(archive: zipfile.ZipFile, path: Path) -> npt.NDArray[np.uint64]:
    words = np.empty((sprites.COUNT, sprites.SIDE), dtype=sprites.WORD)
    for start, images in _chunks(archive, path, "imgs", (sprites.SIDE, sprites.SIDE), "unsigned integers"):
        if images.max() > 1:
            raise DataError(f"`imgs` in {path} must be 0 or 1, found {images.max()}")
        words[start : start + len(images)] = sprites.pack(images)
    return words


def _check_order(archive: zipfile.ZipFile, path: Path) -> None:
    """Targets are computed from the index, so the file's rows must be in the official order."""
    for start, classes in _chunks(archive, path, "latents_classes", (6,), "integers"):
        expected = sprites.factors_of(np.arange(start, start + len(classes)))
        _check_rows(path, "latents_classes", start, classes, np.pad(expected, ((0, 0), (1, 0))))
    for start, values in _chunks(archive, path, "latents_values", (6,), "floating point numbers"):
        wanted = sprites.factor_values(sprites.factors_of(np.arange(start, start + len(values))))
        _check_rows(path, "latents_values", start, values, np.pad(wanted, ((0, 0), (1, 0)), constant_values=1))


def _check_rows(path: Path, key: str, start: int, found: npt.NDArray, expected: npt.NDArray) -> None:
    wrong = np.flatnonzero(~np.isclose(found, expected, rtol=0, atol=1e-6).all(axis=1))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"`{key}` in {path} must be in the official order: row {start + row} should be {expected[row].tolist()},"
            f" found {found[row].tolist()}"
        )


def _chunks(
    archive: zipfile.ZipFile, path: Path, key: str, row: tuple[int, ...], kind: str
) -> Iterator[tuple[int, npt.NDArray]]:
    """Rows of one array of the archive, with the number of the first of them."""
    if f"{key}.npy" not in archive.namelist():
        raise DataError(f"{path} must hold an array `{key}`, found {', '.join(archive.namelist()) or 'nothing'}")
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _header(stream, path, key)
        if shape != (sprites.COUNT, *row) or fortran or dtype.kind not in KINDS[kind]:
            raise DataError(
                f"`{key}` in {path} must be {kind} of shape {(sprites.COUNT, *row)} in C order,"
                f" found shape {shape} and type {dtype}{' in Fortran order' if fortran else ''}"
            )
        size = int(np.prod(row)) * dtype.itemsize
        for start in range(0, sprites.COUNT, CHUNK):
            content = stream.read(min(CHUNK, sprites.COUNT - start) * size)
            if len(content) < min(CHUNK, sprites.COUNT - start) * size:
                raise DataError(f"`{key}` in {path} ends after {start + len(content) // size} rows; fetch it again")
            yield start, np.frombuffer(content, dtype=dtype).reshape(-1, *row)


def _header(stream: IO[bytes], path: Path, key: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        if np.lib.format.read_magic(stream) == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)
    except ValueError as error:
        raise DataError(f"`{key}` in {path} is not an array in NumPy's format: {error}") from error
