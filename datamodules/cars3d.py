"""Cars3D: 183 models of cars from 24 sides and 4 heights."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.base import DataSpec, LoaderOptions
from lightning_gvae.datamodules.factors import (
    Classes,
    FactorDataModule,
    Images,
    RemoteFile,
    grid_targets,
    lanczos,
    resized,
)
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.errors import DataError

__all__ = ["FACTORS", "Cars3DDataModule"]

ARCHIVE = RemoteFile("http://www.scottreed.info/files/nips2015-analogy-data.tar.gz", "4e866a7919c1beedf53964e6f7a23686")
FACTORS = ("elevation", "azimuth", "object_type")
FOLDERS = ("", "cars", "data/cars")
LIST = "list.txt"  # the official order of the cars


class Cars3DDataModule(FactorDataModule):
    """Cars3D from the official MATLAB files, one a car, unpacked or after a download.

    Targets are the classes of (elevation, azimuth, object_type): 4, 24 and 183 in the official files. Cars are in the
    order of ``list.txt`` where that lies beside them, else by name.

    Args:
        root: Folder of the files ``*.mat``; its folders ``cars`` and ``data/cars`` are looked into too.
        image_size: 64, 32, 16 or 8; resized from 128 as disentanglement_lib does it.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        download: Fetch the archive and unpack the cars from it if they are not found; its MD5 sum is checked.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.
        DataError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.

    References:
        Reed, Zhang, Zhang, Lee, Deep Visual Analogy-Making, 2015.
    """

    FILES = (ARCHIVE,)

    def __init__(
        self,
        root: str | Path,
        image_size: int = 64,
        val_size: Size = 1000,
        test_size: Size = 2000,
        download: bool = False,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        spec = DataSpec("cars3d", (3, 64, 64), factor_names=FACTORS, factor_sizes=(4, 24, 183))
        super().__init__(spec, root, image_size, val_size, test_size, download, cache_dir, **options)

    def found(self) -> list[Path]:
        """The files of the cars, in their order."""
        for folder in (self.root / name for name in FOLDERS):
            if files := sorted(folder.glob("*.mat")):
                return _in_order(folder, files)
        raise self._missing(["cars/*.mat"])

    def classes(self, files: Sequence[Path]) -> Classes:
        """Classes by the place of an image."""
        azimuths, elevations = _mesh(files[0]).shape[3:]
        return grid_targets((elevations, azimuths, len(files)))

    def pieces(self, files: Sequence[Path]) -> Iterator[Images]:
        """All images: for each elevation and azimuth those of all cars."""
        # One car after the other is read, and the car varies fastest: all are held, at their final size.
        cars = []
        shape = _mesh(files[0]).shape
        for path in files:
            mesh = _mesh(path)
            if mesh.shape != shape:
                raise DataError(f"`im` in {path} must be of shape {shape}, as in {files[0].name}, found {mesh.shape}")
            views = mesh.transpose(4, 3, 0, 1, 2).reshape(-1, *shape[:3])
            cars.append(next(resized([views], self.image_size, lanczos)))
        for view in range(shape[3] * shape[4]):
            yield np.stack([car[view] for car in cars])

    def _fetch(self, folder: Path) -> None:
        super()._fetch(folder)
        archive = folder / ARCHIVE.name
        with tarfile.open(archive) as packed:
            for member in packed:
                place = Path(member.name)
                if member.isreg() and place.parent.name == "cars" and place.suffix in (".mat", ".txt"):
                    stream = packed.extractfile(member)
                    assert stream is not None, member.name
                    (folder / "cars").mkdir(exist_ok=True)
                    (folder / "cars" / place.name).write_bytes(stream.read())
        archive.unlink()


def _in_order(folder: Path, files: list[Path]) -> list[Path]:
    listed = folder / LIST
    if not listed.is_file():
        return files
    names = [
        f"{Path(line.strip()).name.removesuffix('.mat')}.mat"
        for line in listed.read_text().splitlines()
        if line.strip()
    ]
    if sorted(names) != [path.name for path in files]:
        raise DataError(
            f"{listed} names {len(names)} cars, but {folder} holds {len(files)} other files *.mat; unpack the archive "
            "again"
        )
    return [folder / name for name in names]


def _mesh(path: Path) -> npt.NDArray[np.uint8]:
    """Images of one car ``(H, W, 3, azimuths, elevations)``."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(path, variable_names=["im"])
    except (MatReadError, OSError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        raise DataError(f"{path} is no MATLAB file, damaged or cut off ({error}); unpack the archive again") from error
    mesh = content.get("im")
    if not isinstance(mesh, np.ndarray) or mesh.dtype != np.uint8 or mesh.ndim != 5 or mesh.shape[2] != 3:
        found = f"{mesh.dtype} of shape {mesh.shape}" if isinstance(mesh, np.ndarray) else "none"
        raise DataError(f"`im` in {path} must be uint8 (H, W, 3, azimuths, elevations), found {found}")
    return mesh
