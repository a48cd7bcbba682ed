"""Images in NumPy's files, memory-mapped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.datamodules.array_files import ArrayFile, array_names, open_array
from lightning_gvae.datamodules.base import DataSpec, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import Batch, Indices
from lightning_gvae.datamodules.identity import Items, content_hashes
from lightning_gvae.datamodules.parts import Size, keyed
from lightning_gvae.datamodules.pixels import as_uint8, channels_first
from lightning_gvae.errors import ConfigError, DataError, checked_choice, say
from lightning_gvae.io.content import text_hash

__all__ = ["ArrayImages", "ArraysDataModule", "numbered_items"]

LAYOUTS = ("auto", "chw", "hwc")
LOOKED_AT = 256  # images
HASHED = 2**32  # bytes of images whose content is hashed; larger sets are known by their file


class ArraysDataModule(ImageDataModule):
    """Images, and labels if there are any, in ``.npy`` or ``.npz`` files; only the batches asked for are read.

    A packed ``.npz`` (``np.savez_compressed``) is unpacked into the cache at the first start. Files that hold Python
    objects are refused: nothing is ever unpickled.

    Args:
        path: Images ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)`` of uint8, booleans, or floats in [0, 1].
        images_key: Name of the images in an ``.npz``; None is ``images``, or the only array that there is.
        labels: Another file, of integer labels ``(N,)``; None looks into ``path``.
        labels_key: Name of the labels in an ``.npz``; None is ``labels``, if there are such.
        test_path: File of the test part, with the same names; None cuts the part from ``path``.
        test_labels: File of its labels.
        layout: ``"chw"``, ``"hwc"``, or ``"auto"``: channels are first if there are 1 to 4 of them, else last.
        val_size: Images held out for validation, a count or a share.
        test_size: Images held out for testing, a count or a share, without a ``test_path``.
        name: Name of the data set.
        class_names: Names of the labels.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: ``layout`` is another word, ``class_names`` are fewer than the labels, or as for
            :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: A file is missing, damaged or holds Python objects, lacks an array, or the arrays are not of the
            shapes and types above or not of one length.
    """

    def __init__(
        self,
        path: str | Path,
        images_key: str | None = None,
        labels: str | Path | None = None,
        labels_key: str | None = None,
        test_path: str | Path | None = None,
        test_labels: str | Path | None = None,
        layout: str = "auto",
        val_size: Size = 0.1,
        test_size: Size = 0.1,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        checked_choice("layout", layout, LAYOUTS)
        self._files = [_files(path, images_key, labels, labels_key)]
        if test_path is not None:
            self._files.append(_files(test_path, images_key, test_labels, labels_key))
        images, _ = self._files[0]
        shape = channels_first(np.broadcast_to(np.zeros((), images.dtype), images.shape), images.what, layout).shape
        spec = DataSpec(name, shape[1:], binary=images.dtype == np.bool_)
        super().__init__(spec, val_size, test_size if test_path is None else None, **options)
        self.layout, self.class_names = layout, tuple(class_names or ())
        self.cache_dir = None if cache_dir is None else Path(cache_dir)

    def load(self) -> "tuple[ArrayImages, ArrayImages | None]":
        """The images to train and validate on, and the test images if they have a file."""
        sources = [self._source(*files) for files in self._files]
        labelled = [source.targets for source, (_, labels) in zip(sources, self._files, strict=True) if labels]
        if len(labelled) == len(sources) and all(labels.ndim == 1 and labels.min() >= 0 for labels in labelled):
            count = max(int(labels.max()) for labels in labelled) + 1
            if self.class_names and len(self.class_names) < count:
                raise ConfigError(
                    f"`class_names` must name the classes 0..{count - 1}, got {len(self.class_names)} names"
                )
            self.spec = replace(self.spec, num_classes=max(count, len(self.class_names)), class_names=self.class_names)
        return sources[0], sources[1] if len(sources) > 1 else None

    def _source(self, images: ArrayFile, labels: ArrayFile | None) -> "ArrayImages":
        pixels = channels_first(images.read(self.cache_dir), images.what, self.layout)
        if pixels.shape[1:] != self.spec.image_shape:
            raise DataError(f"{images.what} has images of shape {pixels.shape[1:]}, not {self.spec.image_shape}")
        targets = np.zeros(len(pixels), np.int64) if labels is None else np.asarray(labels.read(self.cache_dir))
        if targets.dtype.kind not in "iub" or targets.ndim not in (1, 2) or len(targets) != len(pixels):
            raise DataError(
                f"{'' if labels is None else labels.what} must be {len(pixels)} integers, one a row of {images.what}, "
                f"found {targets.dtype} of shape {targets.shape}"
            )
        if pixels.dtype == np.uint8 and int(pixels[:LOOKED_AT].max(initial=0)) <= 1:
            say(
                f"{self.spec.name}: the first {min(len(pixels), LOOKED_AT)} images hold nothing above 1 of 255; if "
                "they are black and white, save them as booleans or times 255"
            )
        return ArrayImages(pixels, targets.astype(np.int64), images.what)


class ArrayImages:
    """Images in an array that may be larger than the memory, and their targets.

    Args:
        images: ``(N, C, H, W)`` of uint8, booleans or floats in [0, 1].
        targets: int64 ``(N,)`` or ``(N, F)``.
        what: Name of the images, for messages; the file that they are known by if they are many.
        items: What tells the images apart; None hashes the pixels, or of many images the file's name and both ends.
    """

    def __init__(
        self, images: npt.NDArray[Any], targets: npt.NDArray[np.int64], what: str, items: Items | None = None
    ) -> None:
        self.images, self.targets, self.what = images, targets, what
        self._items = items

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Indices) -> Batch:
        """Images and targets at ``indices``."""
        pixels = np.ascontiguousarray(as_uint8(self.images[indices], f"images {self.what}"))
        return torch.from_numpy(pixels), torch.from_numpy(self.targets[indices])

    def items(self) -> Items:
        """Hashes of all images."""
        if self._items is None:
            if self.images.nbytes <= HASHED:
                self._items = Items(content_hashes(self.images))
            else:
                ends = np.concatenate([self.images[:64], self.images[-64:]])
                self._items = numbered_items(len(self), f"{len(self)}/{content_hashes(ends).tolist()}")
        return self._items


def numbered_items(count: int, name: str) -> Items:
    """Identities of the images of a set of fixed content: their numbers, which differ from those of another set."""
    return Items(keyed(np.arange(count, dtype=np.uint64), int(text_hash(name, 4), 16) >> 1))


def _files(
    path: str | Path, images_key: str | None, labels: str | Path | None, labels_key: str | None
) -> tuple[ArrayFile, ArrayFile | None]:
    """Images and labels."""
    place = Path(path).expanduser()
    images = open_array(place, _key(place, "images", images_key))
    source = place if labels is None else Path(labels).expanduser()
    key = _key(source, "labels", labels_key) if labels is not None or labels_key is not None else None
    if key is None and "labels" in array_names(source):
        key = "labels"
    return images, None if key is None else open_array(source, key)


def _key(path: Path, what: str, given: str | None) -> str:
    """Name of an array in a file: the given one, the usual one, or the only one."""
    names = array_names(path)
    if given is not None:
        return given
    if what in names:
        return what
    if len(names) == 1:
        return names[0]
    raise DataError(
        f"{path} has the arrays {', '.join(names) or '(none)'}; say with data.{what}_key=... which are the {what}"
    )
