"""3D Shapes: 480,000 images of a thing in a room, one for each combination of six factors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from lightning_gvae.datamodules.base import DataSpec, LoaderOptions
from lightning_gvae.datamodules.factors import Classes, FactorDataModule, Images, RemoteFile, factor_classes, resized
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["FACTORS", "Shapes3DDataModule"]

FILE = RemoteFile("https://storage.googleapis.com/3d-shapes/3dshapes.h5", "099a2078d58cec4daad0702c55d06868")
FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
CHUNK = 2048  # images read at a time


class Shapes3DDataModule(FactorDataModule):
    """3D Shapes from its official HDF5 file, which the extra ``h5`` reads.

    Targets are the classes of (floor_hue, wall_hue, object_hue, scale, shape, orientation), of 10, 10, 10, 8, 4 and 15
    values in the official file; a file with fewer values or images in the same layout works too.

    Args:
        root: Folder of ``3dshapes.h5``, or the file.
        image_size: 64, or 32, 16 or 8: means over squares of pixels.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        download: Fetch the file (250 MB) if it is not found; its MD5 sum is checked.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: The extra ``h5`` is not installed, or as for
            :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.
        DataError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.

    References:
        Burgess, Kim, 3D Shapes Dataset, 2018.
    """

    FILES = (FILE,)

    def __init__(
        self,
        root: str | Path,
        image_size: int = 64,
        val_size: Size = 5000,
        test_size: Size = 10_000,
        download: bool = False,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        _h5py()
        spec = DataSpec("shapes3d", (3, 64, 64), factor_names=FACTORS, factor_sizes=(10, 10, 10, 8, 4, 15))
        super().__init__(spec, root, image_size, val_size, test_size, download, cache_dir, **options)

    def found(self) -> list[Path]:
        """The file."""
        path = self.root / FILE.name if self.root.is_dir() or not self.root.suffix else self.root
        if not path.is_file():
            raise self._missing([path.name])
        return [path]

    def classes(self, files: Sequence[Path]) -> Classes:
        """Classes of the values in ``labels``."""
        with _opened(files[0]) as content:
            images, labels = (_array(content, files[0], key) for key in ("images", "labels"))
            rows = images.shape[:1]
            if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
                raise DataError(f"`images` in {files[0]} must be uint8 (N, H, W, 3), found {_facts(images)}")
            if labels.shape != (*rows, len(FACTORS)) or not rows[0]:
                raise DataError(f"`labels` in {files[0]} must be {(*rows, len(FACTORS))}, found {_facts(labels)}")
            return factor_classes(labels[:])

    def pieces(self, files: Sequence[Path]) -> Iterator[Images]:
        """All images of the file."""
        with _opened(files[0]) as content:
            images = _array(content, files[0], "images")
            try:
                parts = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
                yield from resized(parts, self.image_size)
            except OSError as error:
                raise DataError(f"`images` in {files[0]} is damaged or cut off ({error}); fetch it again") from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            "data=shapes3d reads an HDF5 file, for which the package h5py is needed; pip install 'lightning-gvae[h5]'"
        ) from error
    return h5py


def _opened(path: Path) -> Any:
    try:
        return _h5py().File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is no HDF5 file, damaged or cut off ({error}); fetch it again") from error


def _array(content: Any, path: Path, key: str) -> Any:
    if key not in content or not hasattr(content[key], "shape"):
        raise DataError(
            f"{path} must hold an array `{key}`, found {', '.join(content) or 'nothing'}; is it 3dshapes.h5?"
        )
    return content[key]


def _facts(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}"
