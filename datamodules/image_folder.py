"""Any folder or zip archive of images, decoded once and cached."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Unpack

import numpy as np

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import ImageSource, Indices
from lightning_gvae.datamodules.cache import CachedImages, cached_images
from lightning_gvae.datamodules.decode import Recipe
from lightning_gvae.datamodules.image_files import SUFFIXES, open_files
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["ImageFolderDataModule"]

PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
UNLABELLED = "(none)"


class ImageFolderDataModule(ImageDataModule):
    """Images of any size and kind below a folder or in a zip archive.

    At the first start they are decoded in parallel into a memory-mapped cache; see
    :func:`~lightning_gvae.datamodules.cache.cached_images`. Names are sorted, so the order is the same everywhere.

    Args:
        root: The folder, or a ``.zip`` archive, which is read in place.
        image_size: Rows and columns of the result, in pixels; one number makes squares.
        channels: 1 (grey) or 3 (RGB).
        crop: First cut a square of so many pixels from the centre.
        fit: ``"crop"`` keeps the proportions, ``"stretch"`` does not.
        labels: ``"none"`` (all targets are 0), ``"folders"`` (the first folder below ``root``, or below the folder of
            the part), or the path of a CSV file, relative to ``root``, with a column ``file`` (path below ``root`` or
            name alone) and ``label_column``.
        label_column: Column of the CSV file.
        partition: ``"random"`` cuts ``val_size`` and ``test_size`` images by the seed; ``"folders"`` takes the folders
            ``train``, ``val`` and ``test`` below ``root``.
        val_size: Images held out for validation (random partition).
        test_size: Images held out for testing (random partition).
        on_error: What to do with a file that cannot be decoded: ``"raise"``, or ``"skip"`` and count it.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        workers: Threads that decode; None is one for each processor.
        name: Name of the data set.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: A setting is not one of the above.
        DataError: From ``setup``: there is no image, a file cannot be decoded, a label or a part is missing.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int | Sequence[int] = 64,
        channels: int = 3,
        crop: int | None = None,
        fit: str = "crop",
        labels: str = "none",
        label_column: str = "label",
        partition: str = "random",
        val_size: int = 500,
        test_size: int = 500,
        on_error: str = "raise",
        cache_dir: str | Path | None = None,
        workers: int | None = None,
        name: str = "image_folder",
        **options: Unpack[LoaderOptions],
    ) -> None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else _two("image_size", image_size)
        self.recipe = Recipe(height, width, channels, crop, fit)
        super().__init__(DataSpec(name, self.recipe.shape), val_size, test_size, **options)
        if partition not in ("random", "folders"):
            raise ConfigError(f"`partition` must be random or folders, got {partition!r}")
        self.root = Path(root).expanduser()
        self.labels, self.label_column, self.partition = labels, label_column, partition
        self.on_error, self.workers = on_error, workers
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._names: list[str] = []  # of the images that were decoded

    def prepare_data(self) -> None:
        """Decode the images into the cache; once a machine."""
        self._cached()

    def load(self) -> tuple[ImageArrays, None]:
        """All images; those of the parts are told apart by ``parts``."""
        names, cached = self._cached()
        self._names = [names[position] for position in cached.kept]
        classes = self._classes(self._names)
        unique = sorted(set(classes))
        number = {label: index for index, label in enumerate(unique)}
        if self.labels != "none":
            self.spec = replace(self.spec, num_classes=len(unique), class_names=tuple(unique))
        return ImageArrays(cached.images, np.array([number[label] for label in classes], dtype=np.int64)), None

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """Parts by the seed, or by the folders."""
        if self.partition == "random":
            return super().parts(pool, test)
        part_of = np.array([PART_NAMES.get(name.split("/")[0].lower(), "") for name in self._names])
        parts = {part: np.flatnonzero(part_of == part) for part in ("train", "val", "test")}
        if missing := [part for part, indices in parts.items() if not len(indices)]:
            raise DataError(
                f"{self.root} holds no images in a folder {' or '.join(missing)}; `partition=folders` needs the folders"
                " train, val and test, `partition=random` cuts the parts itself"
            )
        return {part: (pool, indices) for part, indices in parts.items()}

    def _cached(self) -> tuple[list[str], CachedImages]:
        files = open_files(self.root)
        names = files.names()
        if not names:
            raise DataError(f"{self.root} holds no images ({', '.join(sorted(SUFFIXES))})")
        cached = cached_images(
            files,
            names,
            self.recipe,
            title=self.spec.name,
            cache_dir=self.cache_dir,
            on_error=self.on_error,
            workers=self.workers,
        )
        return names, cached

    def _classes(self, names: list[str]) -> list[str]:
        """Class of every image."""
        if self.labels == "none":
            return [""] * len(names)
        if self.labels != "folders":
            return self._listed(names)
        depth = 1 if self.partition == "folders" else 0
        folders = [PurePosixPath(name).parts[depth:-1] for name in names]
        if () in folders:
            raise DataError(
                f"{self.root / names[folders.index(())]} lies in no folder that could be its label; put every "
                "class into"
                " a folder of its own, or set data.labels=none"
            )
        found = {folder[0] for folder in folders}
        if self.partition == "random" and {"train", "test"} <= {name.lower() for name in found}:
            raise ConfigError(
                f"{self.root} holds the folders {', '.join(sorted(found))}, which look like parts and not like labels;"
                " set data.partition=folders"
            )
        return [folder[0] for folder in folders]

    def _listed(self, names: list[str]) -> list[str]:
        path = self.root / self.labels
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} cannot be read ({error}); `labels` must be none, folders or the path of a CSV file"
            ) from error
        columns = list(rows[0]) if rows else []
        if not {"file", self.label_column} <= set(columns):
            raise DataError(f"{path} must have the columns file and {self.label_column}, found {columns or 'none'}")
        label_of = {row["file"]: row[self.label_column] or UNLABELLED for row in rows}
        rows_of = [name if name in label_of else PurePosixPath(name).name for name in names]
        if missing := [name for name, row in zip(names, rows_of, strict=True) if row not in label_of]:
            raise DataError(f"{path} has no row for {missing[0]} and {len(missing) - 1} others; add them")
        return [label_of[row] for row in rows_of]


def _two(name: str, sizes: Sequence[int]) -> tuple[int, int]:
    if len(sizes) != 2:
        raise ConfigError(f"`{name}` must be one number or [height, width], got {list(sizes)}")
    return sizes[0], sizes[1]
