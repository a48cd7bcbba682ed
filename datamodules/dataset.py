"""Any data set with ``__len__`` and ``__getitem__``, read into memory once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from torch.utils.data import IterableDataset
from tqdm import tqdm

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.datamodules.pixels import as_image
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["DatasetDataModule", "is_map_style"]


class DatasetDataModule(ImageDataModule):
    """A data set of single images, such as one of torchvision or of a user's package.

    Every item is asked for once and kept in memory as uint8, so what the data set draws at random is drawn once: leave
    augmentation to ``hflip`` and ``max_shift``. All else is as for the data of this package: parts, exact resume,
    weights, images on the device.

    Args:
        dataset: Its items are images, or tuples of an image and an integer label: PIL images, or arrays or tensors
            ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``, uint8 or floats in [0, 1], all of one shape.
        test_dataset: The test part; None cuts it from ``dataset``.
        val_size: Images held out for validation, a count or a share.
        test_size: Images held out for testing, a count or a share, if there is no ``test_dataset``.
        name: Name of the data set.
        class_names: Names of the labels; None takes the data set's attribute ``classes``, if it has one.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: ``dataset`` is not of this kind, or as for
            :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: An item is no image, or of another shape than the first.
    """

    def __init__(
        self,
        dataset: Any,
        test_dataset: Any = None,
        val_size: Size = 0.1,
        test_size: Size = 0.1,
        name: str = "own",
        class_names: Sequence[str] | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        for setting, given in (("dataset", dataset), ("test_dataset", test_dataset)):
            if given is not None or setting == "dataset":
                _check(setting, given)
        image, _ = _item(dataset[0], f"item 0 of {name}")
        super().__init__(DataSpec(name, image.shape), val_size, test_size if test_dataset is None else None, **options)
        self.dataset, self.test_dataset = dataset, test_dataset
        found = getattr(dataset, "classes", None) if class_names is None else class_names
        self.class_names = tuple(map(str, found)) if isinstance(found, list | tuple) else ()

    def load(self) -> tuple[ImageArrays, ImageArrays | None]:
        """All images of the data set, and those of the test set if there is one."""
        pool, labelled = self._read(self.dataset, self.spec.name)
        test = None
        if self.test_dataset is not None:
            test, in_test = self._read(self.test_dataset, f"{self.spec.name}, test")
            labelled = labelled and in_test
        if labelled:
            most = max(int(each.targets.max()) for each in (pool, test) if each is not None)
            names = self.class_names if len(self.class_names) > most else ()
            self.spec = replace(self.spec, num_classes=len(names) or most + 1, class_names=names)
        return pool, test

    def _read(self, dataset: Any, what: str) -> tuple[ImageArrays, bool]:
        """Images and labels, and whether there are labels."""
        images = np.empty((len(dataset), *self.spec.image_shape), np.uint8)
        labels = np.zeros(len(dataset), np.int64)
        labelled = True
        for position in tqdm(range(len(dataset)), desc=f"read {what}", unit="image", delay=1):
            image, label = _item(dataset[position], f"item {position} of {what}")
            if image.shape != self.spec.image_shape:
                raise DataError(
                    f"item {position} of {what} is an image of shape {image.shape}, the first has the shape "
                    f"{self.spec.image_shape}; resize them to one shape"
                )
            images[position] = image
            if label is None or label < 0:
                labelled = False
            else:
                labels[position] = label
        return ImageArrays(images, labels if labelled else np.zeros_like(labels)), labelled


def is_map_style(candidate: Any) -> bool:
    """Whether a candidate is a data set whose items have positions."""
    has_items = hasattr(candidate, "__len__") and hasattr(candidate, "__getitem__")
    return has_items and not isinstance(candidate, IterableDataset | Mapping | str | bytes)


def _check(setting: str, dataset: Any) -> None:
    if not is_map_style(dataset) or not len(dataset):
        found = "an empty one" if is_map_style(dataset) else type(dataset).__name__
        raise ConfigError(f"`{setting}` must be a data set with __len__ and __getitem__, got {found}")


def _item(item: Any, what: str) -> tuple[Any, int | None]:
    """Image ``(C, H, W)`` and label."""
    image, *rest = item if isinstance(item, list | tuple) and item else (item,)
    if isinstance(image, Mapping):
        raise DataError(
            f"{what} is a mapping with the keys {', '.join(map(str, image))}; items must be images, or tuples (image, "
            "label)"
        )
    label: Any = rest[0] if rest else None
    if hasattr(label, "item") and getattr(label, "ndim", 0) == 0:
        label = label.item()
    is_label = isinstance(label, int) and not isinstance(label, bool)
    return as_image(image, what), label if is_label else None
