"""MPI3D: a million images of a robot's arm and what it carries, one for each combination of seven factors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.array_files import ArrayFile, open_array
from lightning_gvae.datamodules.base import DataSpec, LoaderOptions
from lightning_gvae.datamodules.factors import Classes, FactorDataModule, Images, RemoteFile, grid_targets, resized
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.errors import DataError, checked_choice

__all__ = ["FACTORS", "VARIANTS", "MPI3DDataModule"]

BASE = "https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/"
VARIANTS = {
    "toy": RemoteFile(f"{BASE}mpi3d_toy.npz", "55889cb7c7dfc655d6e0277beee88868"),
    "realistic": RemoteFile(f"{BASE}mpi3d_realistic.npz", "59a6225b88b635365f70c91b3e52f70f"),
    "real": RemoteFile(f"{BASE}mpi3d_real.npz", "0f33f609918fb5c97996692f91129802"),
}
FACTORS = (
    *("object_color", "object_shape", "object_size", "camera_height", "background_color"),
    *("horizontal_axis", "vertical_axis"),
)
GRIDS = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))  # of the final files, and of those of the challenge
CHUNK = 2048  # images read at a time


class MPI3DDataModule(FactorDataModule):
    """MPI3D from one of its official ``.npz`` files; an unpacked one is used in place, without a copy.

    Targets are the classes of (object_color, object_shape, object_size, camera_height, background_color,
    horizontal_axis, vertical_axis): 6, 6, 2, 3, 3, 40 and 40, or 4 colours and shapes in the files of the challenge and
    in ``mpi3d_real_complex``; which, the number of images tells.

    Args:
        root: Folder of ``mpi3d_<variant>.npz``, or the file.
        variant: ``"toy"``, ``"realistic"`` or ``"real"``.
        factor_sizes: Sizes of the seven factors of another file in the same layout; None tells them by the number of
            images.
        image_size: 64, or 32, 16 or 8: means over squares of pixels.
        val_size: Images held out for validation.
        test_size: Images held out for testing.
        download: Fetch the file (gigabytes) if it is not found; its MD5 sum is checked.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: There is no such variant, or as for
            :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.
        DataError: As for :class:`~lightning_gvae.datamodules.factors.FactorDataModule`.

    References:
        Gondal et al., On the Transfer of Inductive Bias from Simulation to the Real World, 2019.
    """

    def __init__(
        self,
        root: str | Path,
        variant: str = "toy",
        factor_sizes: Sequence[int] | None = None,
        image_size: int = 64,
        val_size: Size = 5000,
        test_size: Size = 10_000,
        download: bool = False,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        checked_choice("variant", variant, tuple(VARIANTS))
        self.variant, self.factor_sizes = variant, None if factor_sizes is None else tuple(factor_sizes)
        if self.factor_sizes is not None and len(self.factor_sizes) != len(FACTORS):
            raise DataError(f"`factor_sizes` must be {len(FACTORS)} numbers, got {list(self.factor_sizes)}")
        spec = DataSpec(f"mpi3d_{variant}", (3, 64, 64), factor_names=FACTORS, factor_sizes=GRIDS[0])
        super().__init__(spec, root, image_size, val_size, test_size, download, cache_dir, **options)

    @property
    def remote(self) -> tuple[RemoteFile, ...]:
        """The published file of the variant."""
        return (VARIANTS[self.variant],)

    def found(self) -> list[Path]:
        """The file."""
        name = VARIANTS[self.variant].name
        path = self.root / name if self.root.is_dir() or not self.root.suffix else self.root
        if not path.is_file():
            raise self._missing([path.name])
        return [path]

    def classes(self, files: Sequence[Path]) -> Classes:
        """Classes by the position of an image."""
        array = _images(files[0])
        known = (self.factor_sizes,) if self.factor_sizes is not None else GRIDS
        for sizes in known:
            if int(np.prod(sizes)) == array.shape[0]:
                return grid_targets(sizes)
        grids = " or ".join(f"{int(np.prod(sizes)):,} images of {'x'.join(map(str, sizes))} classes" for sizes in known)
        raise DataError(
            f"{array.what} must be {grids}, found {array.shape[0]:,}; set data.factor_sizes for another file of "
            "this kind"
        )

    def pieces(self, files: Sequence[Path]) -> Iterator[Images]:
        """All images of the file."""
        images = _images(files[0]).read(self.cache_dir)
        parts = (np.asarray(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK))
        yield from resized(parts, self.image_size)

    def images(self, files: Sequence[Path], count: int) -> npt.NDArray[Any]:
        """The images as they lie in the file, or the prepared smaller ones."""
        array = _images(files[0])
        if array.shape[1:3] == (self.image_size, self.image_size):
            return array.read(self.cache_dir).transpose(0, 3, 1, 2)
        return super().images(files, count)


def _images(path: Path) -> ArrayFile:
    array = open_array(path, "images")
    if len(array.shape) != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not array.shape[0]:
        raise DataError(f"{array.what} must be uint8 (N, H, W, 3), found {array.dtype} of shape {array.shape}")
    return array
