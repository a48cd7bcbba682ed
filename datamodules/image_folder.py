"""Any folder or zip archive of images, decoded once and cached."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

import numpy as np

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import ImageSource, Indices
from lightning_gvae.datamodules.cache import CachedImages, cached_images
from lightning_gvae.datamodules.decode import DecodingSettings, Recipe, UnreadableImageError
from lightning_gvae.datamodules.identity import Items
from lightning_gvae.datamodules.image_files import SUFFIXES, FolderFiles, ZipFiles, listed, open_files
from lightning_gvae.datamodules.labels import read_labels
from lightning_gvae.datamodules.parts import Hashes, Rule, Size, cut_by_hash, keyed, text_hashes
from lightning_gvae.errors import ConfigError, DataError, printable, say
from lightning_gvae.io.settings import as_settings
from lightning_gvae.renames import takes_former_names

__all__ = ["ImageFolderDataModule"]

PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@takes_former_names("lightning_gvae.datamodules.image_folder.ImageFolderDataModule")
class ImageFolderDataModule(ImageDataModule):
    """Images of any size and kind below a folder or in a zip archive.

    At the first start they are decoded in parallel into a memory-mapped cache; see
    :func:`~lightning_gvae.datamodules.cache.cached_images`. What is not like an ordinary image is converted by the
    rules of :class:`~lightning_gvae.datamodules.pixel_modes.Conversion`, and how many were is said.

    Args:
        root: The folder, or a ``.zip`` archive, which is read in place.
        image_size: Rows and columns of the result, in pixels; one number makes squares.
        channels: 1 (grey) or 3 (RGB).
        crop: First cut a square of so many pixels from the centre.
        fit: ``"crop"`` keeps the proportions, ``"stretch"`` does not.
        labels: ``"none"`` (all targets are 0), ``"folders"`` (the first folder below ``root``, or below the folder of
            the part), or the path of a CSV file, relative to ``root`` (in or beside an archive), with a column
            ``file`` and ``label_column``; see :func:`~lightning_gvae.datamodules.labels.read_labels`.
        label_column: Column of the CSV file.
        partition: ``"random"`` decides by a hash of an image's name, keyed by ``split_seed``, in which part it is, see
            :func:`~lightning_gvae.datamodules.parts.cut_by_hash`; ``"folders"`` takes the folders ``train``, ``val``
            and ``test`` below ``root``.
        val_size: Images held out for validation, a share or a count (random partition).
        test_size: Images held out for testing, a share or a count (random partition).
        decoding: Unusual pixels, damaged files (``on_error``: those without a row in the table of labels, too) and
            threads; may be given as a mapping.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
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
        val_size: Size = 0.1,
        test_size: Size = 0.1,
        decoding: DecodingSettings | Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        name: str = "image_folder",
        **options: Unpack[LoaderOptions],
    ) -> None:
        self.decoding = as_settings(DecodingSettings, decoding, "decoding")
        self.recipe = Recipe.of(image_size, channels, crop, fit, self.decoding)
        super().__init__(DataSpec(name, self.recipe.shape), val_size, test_size, **options)
        if partition not in ("random", "folders"):
            raise ConfigError(f"`partition` must be random or folders, got {partition!r}")
        self.root = Path(root).expanduser()
        self.labels, self.label_column, self.partition = labels, label_column, partition
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._names: list[str] = []  # of the images that were decoded
        self._hashes: Hashes = np.empty(0, np.uint64)  # of the names
        self._prepared: tuple[list[str], dict[str, str], CachedImages] | None = None

    def prepare_data(self) -> None:
        """Decode the images into the cache; once a machine."""
        self._cached()

    def load(self) -> tuple[ImageArrays, None]:
        """All images; those of the parts are told apart by ``parts``."""
        names, label_of, cached = self._cached()
        self._names = [names[position] for position in cached.kept]
        self._hashes = text_hashes(self._names)
        classes = [label_of.get(name, "") for name in self._names]
        unique = sorted(set(classes))
        number = {label: index for index, label in enumerate(unique)}
        if self.labels != "none":
            self.spec = replace(self.spec, num_classes=len(unique), class_names=_shown(unique))
        targets = np.array([number[label] for label in classes], dtype=np.int64)
        return ImageArrays(cached.images, targets, Items(cached.contents, self._hashes)), None

    def setup(self, stage: str | None = None) -> None:
        """Load and cut the images, and say which parts have some in common."""
        fresh = not self._splits
        super().setup(stage)
        if fresh:
            self.identity.repeated(self.part_items())

    @property
    def rule(self) -> Rule:
        """Rule that decides in which part an image is."""
        kind = "files" if self.partition == "folders" else "permutation" if self.permuted else "names"
        return Rule(kind, self.split_seed)

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """Parts by the names, or by the folders."""
        if self.partition == "random" and self.permuted:
            return super().parts(pool, test)
        if self.partition == "random":
            hashes = keyed(self._hashes, self.split_seed)
            cut = cut_by_hash(hashes, self.val_size, self.test_size, f"{self.spec.name} ({self.root})")
            return {part: (pool, indices) for part, indices in cut.items()}
        part_of = np.array([PART_NAMES.get(name.split("/")[0].lower(), "") for name in self._names])
        parts = {part: np.flatnonzero(part_of == part) for part in ("train", "val", "test")}
        if missing := [part for part, indices in parts.items() if not len(indices)]:
            raise DataError(
                f"{self.root} holds no images in a folder {' or '.join(missing)}; `partition=folders` needs the folders"
                " train, val and test, `partition=random` cuts the parts itself"
            )
        return {part: (pool, indices) for part, indices in parts.items()}

    def _cached(self) -> tuple[list[str], dict[str, str], CachedImages]:
        """Names of the images, their labels, and the decoded ones."""
        if self._prepared is None:
            files = open_files(self.root)
            names = files.names()
            self._check_files(files)
            label_of = self._labels(files, names)
            if self.labels != "none":
                names = [name for name in names if name in label_of]
            cached = cached_images(
                files,
                names,
                self.recipe,
                title=self.spec.name,
                cache_dir=self.cache_dir,
                on_error=self.decoding.on_error,
                workers=self.decoding.workers,
            )
            self._prepared = names, label_of, cached
        return self._prepared

    def _check_files(self, files: FolderFiles | ZipFiles) -> None:
        """Say which files are left out."""
        others = dict(files.others())
        if not files.names():
            found = f", but {listed(others)}" if others else ""
            packed = "; unpack the archive first" if {".zip", ".tar", ".gz", ".7z", ".rar"} & others.keys() else ""
            raise DataError(f"{self.root} holds no images ({', '.join(sorted(SUFFIXES))}){found}{packed}")
        if unreadable := files.unreadable():
            name, reason = next(iter(unreadable.items()))
            said = f"{len(unreadable)} folder(s) in {self.root} cannot be looked into (first: {name}, {reason})"
            if self.decoding.on_error != "skip":
                raise DataError(f"{said}; allow it, or leave them out with data.decoding.on_error=skip")
            self._say(said)
        suffix = PurePosixPath(self.labels).suffix.lower()
        if self.labels not in ("none", "folders") and others.get(suffix):
            others[suffix] -= 1
        if others := {suffix: count for suffix, count in others.items() if count}:
            self._say(f"{sum(others.values())} files are left out, whose suffix is none of an image ({listed(others)})")

    def _labels(self, files: FolderFiles | ZipFiles, names: list[str]) -> dict[str, str]:
        """Label by name of the image; those without one are left out if that is wished for."""
        if self.labels == "none":
            return {}
        if self.labels == "folders":
            return self._folder_labels(names)
        content, path = self._table(files)
        table = read_labels(content, path, self.label_column, self.root, names)
        if table.strangers:
            self._say(f"{len(table.strangers)} rows of {path.name} name no image here (first: {table.strangers[0]})")
        if missing := [name for name in names if name not in table.labels]:
            said = f"{path} has no row for {missing[0]} and {len(missing) - 1} others"
            if self.decoding.on_error != "skip":
                raise DataError(f"{said}; add them, or leave such images out with data.decoding.on_error=skip")
            self._say(f"{len(missing)} of {len(names)} images are left out: {said}")
        return table.labels

    def _table(self, files: FolderFiles | ZipFiles) -> tuple[bytes, Path]:
        """The table of labels: below the root, or in or beside an archive."""
        path = self.root / Path(self.labels).expanduser()
        try:
            if isinstance(files, ZipFiles):
                if files.has(self.labels):
                    return files.read(self.labels), path
                path = self.root.parent / Path(self.labels).expanduser()
            return path.read_bytes(), path
        except (OSError, UnreadableImageError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); `labels` must be none, folders or the path of a CSV file"
            ) from error

    def _folder_labels(self, names: list[str]) -> dict[str, str]:
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
        return {name: folder[0] for name, folder in zip(names, folders, strict=True)}

    def _say(self, text: str) -> None:
        say(f"{self.spec.name}: {text}")


def _shown(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as text that can be written anywhere, all different."""
    shown = [printable(" ".join(label.split())) for label in labels]
    return tuple(
        text if shown.count(text) == 1 else label.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for text, label in zip(shown, labels, strict=True)
    )
