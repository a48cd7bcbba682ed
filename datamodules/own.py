"""Somebody else's ``LightningDataModule`` or loaders, as this package asks of data."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_gvae.datamodules.base import DataSpec
from lightning_gvae.datamodules.batches import Batch, Indices, Split
from lightning_gvae.datamodules.dataset import DatasetDataModule, is_map_style
from lightning_gvae.datamodules.pixels import as_targets, as_uint8
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.interfaces import DescribedData, offers

__all__ = ["AdaptedDataModule", "LoaderSource", "as_datamodule", "loaders_datamodule"]

STAGES = {"train": "fit", "val": "fit", "test": "test"}
# Handed on if the user's class has its own.
HOOKS = (
    *("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader", "teardown", "on_exception"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "state_dict"),
    "load_state_dict",
)


def as_datamodule(data: Any) -> Any:
    """Data as all parts of this package take them.

    Args:
        data: What says itself what it is (a ``spec``) stays as it is; any other ``LightningDataModule`` becomes an
            :class:`AdaptedDataModule`, and a data set with ``__len__`` and ``__getitem__`` a
            :class:`~lightning_gvae.datamodules.dataset.DatasetDataModule` with its defaults, a smaller batch if there
            are few items.

    Raises:
        ConfigError: It is none of these.
    """
    if offers(data, DescribedData):
        return data
    if isinstance(data, L.LightningDataModule):
        return _adapted_class(type(data))(data)
    if isinstance(data, DataLoader):
        raise ConfigError(
            "`data` is a single DataLoader, but a run needs one to train on and one to validate on; name a "
            "LightningDataModule with train_dataloader and val_dataloader, or a data set, which is cut into parts."
        )
    if is_map_style(data):
        return DatasetDataModule(data, name=type(data).__name__, batch_size=min(128, max(1, len(data) // 4)))
    raise ConfigError(
        f"`data` must be a LightningDataModule, or a data set with __len__ and __getitem__, got {type(data).__name__}."
    )


def loaders_datamodule(train: Any, val: Any, test: Any, name: str = "own") -> "AdaptedDataModule":
    """A data module of three loaders, for scores, searches and figures that look at more than batches in turn.

    Args:
        train: Loader of the images to train on.
        val: Of those to validate on.
        test: Of those to test on.
        name: Name of the data set.
    """
    return _adapted_class(_Loaders)(_Loaders(train, val, test, name))


class AdaptedDataModule(L.LightningDataModule):
    """A ``LightningDataModule`` with what this package asks of data added; all that it does itself is handed on to it.

    Added are ``spec``, read from its first batch, and the parts ``train_set``, ``val_set`` and ``test_set`` behind its
    loaders. To read the first batch, ``prepare_data`` and ``setup("fit")`` are called early, and not again when
    Lightning's turn has come. Its attribute ``image_shape`` ``(C, H, W)`` saves that; ``name``, ``num_classes`` and
    ``class_names`` are taken over too.

    Args:
        inner: The data module.
    """

    def __init__(self, inner: L.LightningDataModule) -> None:
        self.inner = inner
        super().__init__()
        self.prepare_data_per_node = inner.prepare_data_per_node
        self._spec: DataSpec | None = None
        self._parts: dict[str, Split] = {}
        self._prepared = False  # early, and Lightning has not asked yet
        self._loaded: set[str] = set()  # stages that are set up
        self._early: set[str] = set()  # of them those that Lightning has not asked for yet

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def trainer(self) -> L.Trainer | None:
        """Trainer of the run; the user's data module sees it too."""
        return self.inner.trainer

    @trainer.setter
    def trainer(self, trainer: L.Trainer | None) -> None:
        self.inner.trainer = trainer

    @property
    def spec(self) -> DataSpec:
        """Facts about the data."""
        if self._spec is None:
            self._spec = self._read_spec()
        return self._spec

    @property
    def train_set(self) -> Split:
        """Images to train on."""
        return self._part("train")

    @property
    def val_set(self) -> Split:
        """Images to validate on."""
        return self._part("val")

    @property
    def test_set(self) -> Split:
        """Images to test on."""
        return self._part("test")

    def prepare_data(self) -> None:
        """Prepare the data, unless that was done early."""
        if self._prepared:
            self._prepared = False
        else:
            self.inner.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load the data for a stage, unless that was done early; None stands for all."""
        if stage is None:
            for each in dict.fromkeys(STAGES.values()):
                self.setup(each)
        elif stage in self._early:
            self._early.discard(stage)
        else:
            self.inner.setup(stage)
            self._loaded.add(stage)

    def _loader(self, part: str) -> Any:
        """Loader of a part, which is set up for it if Lightning has not done that yet."""
        stage = STAGES[part]
        if stage not in self._loaded:
            if not self._loaded:
                # Of several processes of a machine the first prepares, before it starts the others.
                if os.environ.get("LOCAL_RANK", "0") in ("", "0"):
                    self.inner.prepare_data()
                self._prepared = True
            self.setup(stage)
            self._early.add(stage)
        loader = getattr(self.inner, f"{part}_dataloader")()
        while isinstance(loader, list | tuple | Mapping) and loader:  # several: the first
            loader = next(iter(loader.values() if isinstance(loader, Mapping) else loader))
        return loader

    def _part(self, part: str) -> Split:
        if part not in self._parts:
            what = f"{self.spec.name}/{part}"
            source = LoaderSource(self._loader(part), what)
            self._parts[part] = Split(what, source, np.arange(len(source)))
        return self._parts[part]

    def _read_spec(self) -> DataSpec:
        inner = self.inner
        name, given = str(getattr(inner, "name", None) or type(inner).__name__), getattr(inner, "num_classes", None)
        classes = int(given) if isinstance(given, int | np.integer) else None
        names = tuple(map(str, getattr(inner, "class_names", None) or ()))
        shape = getattr(inner, "image_shape", None)
        if shape is None:
            images, _ = _pair(_first_batch(self._loader("train")), name)
            if images.ndim not in (2, 4):
                raise DataError(
                    f"{name} yields batches of shape {tuple(images.shape)}, but images (B, C, H, W) are needed; give "
                    "grey images a channel"
                )
            shape = images.shape[1:]
        return DataSpec(name, tuple(map(int, shape)), classes, names if len(names) == classes else ())


class LoaderSource:
    """Images behind a loader at chosen positions, made the way the loader makes its batches.

    Args:
        loader: A torch ``DataLoader`` of a data set with positions.
        what: Name of the part, for messages.

    Raises:
        DataError: Its data set has no positions.
    """

    def __init__(self, loader: Any, what: str) -> None:
        dataset: Any = getattr(loader, "dataset", None)
        if not _by_position(loader):
            kind = type(loader).__name__ if dataset is None else type(dataset).__name__
            raise DataError(
                f"single images of {what} are needed, which {kind} does not give; use a DataLoader of single items of "
                "a data set with __len__ and __getitem__"
            )
        self.dataset, self.collate, self.what = dataset, loader.collate_fn, what

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Indices) -> Batch:
        """Images uint8 ``(B, C, H, W)``, floats in [0, 1] times 255, and targets int64, zeros if there are none."""
        images, targets = _pair(self.collate([self.dataset[int(index)] for index in indices]), self.what)
        pixels = as_uint8(images.detach().cpu().numpy(), f"images of {self.what}")
        return torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(as_targets(targets, len(images)))


class _Loaders(L.LightningDataModule):
    """Three loaders."""

    def __init__(self, train: Any, val: Any, test: Any, name: str) -> None:
        super().__init__()
        self.name, self._train, self._val, self._test = name, train, val, test

    def train_dataloader(self) -> Any:
        return self._train

    def val_dataloader(self) -> Any:
        return self._val

    def test_dataloader(self) -> Any:
        return self._test


def _by_position(loader: Any) -> bool:
    """Whether the loader makes batches of single items that have positions."""
    has_items = getattr(loader, "batch_sampler", None) is not None and hasattr(loader, "collate_fn")
    return has_items and is_map_style(getattr(loader, "dataset", None))


def _first_batch(loader: Any) -> Any:
    """A batch of the first item, if it can be had without an epoch being begun."""
    return loader.collate_fn([loader.dataset[0]]) if _by_position(loader) else next(iter(loader))


def _pair(batch: Any, what: str) -> tuple[Tensor, Any]:
    """Images and targets of what a loader yields."""
    images, *rest = batch if isinstance(batch, list | tuple) and batch else (batch,)
    if not isinstance(images, Tensor):
        keys = f" with the keys {', '.join(map(str, images))}" if isinstance(images, Mapping) else ""
        raise DataError(
            f"{what} yields batches of {type(images).__name__}{keys}; batches must be images, or (images, labels): "
            "return such pairs from __getitem__, or make them in collate_fn"
        )
    return images, rest[0] if rest else None


def _adapted_class(kind: type[L.LightningDataModule]) -> type[AdaptedDataModule]:
    """Class that hands on the hooks that a user's class has, under its name: checkpoints keep its state there."""
    own = [name for name in HOOKS if getattr(kind, name, None) is not getattr(L.LightningDataModule, name, None)]
    members = {name: _handed_on(name) for name in own}
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": AdaptedDataModule.__doc__}
    return type(kind.__name__, (AdaptedDataModule,), names | members)


def _handed_on(name: str) -> Callable[..., Any]:
    def call(self: AdaptedDataModule, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, name)(*args, **kwargs)

    call.__name__ = name
    return call
