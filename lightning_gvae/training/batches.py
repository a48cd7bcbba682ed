"""Batches at chosen positions of a loader's data set, whatever the loader is."""

from collections.abc import Sequence, Sized
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import IterableDataset

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import DataSource, offers

__all__ = ["fetch", "loader_size", "validation_loader"]


def loader_size(loader: Any) -> int:
    """Number of items in the loader's data set, not only in this rank's part of it.

    Raises:
        ConfigError: The loader has no data set with positions.
    """
    return len(_dataset(loader))


def fetch(loader: Any, positions: Sequence[int] | np.ndarray) -> Any:
    """A batch of the items at ``positions``, made the way the loader makes its batches.

    The loader's own order and state are not touched and nothing random is drawn.

    Args:
        loader: One whose ``dataset`` has ``batch(positions)``, as those of this package have, or a torch
            ``DataLoader`` of a map-style data set.
        positions: Positions in the data set, at least one.

    Raises:
        ConfigError: The loader has no data set with positions, or ``positions`` are empty or out of range.
    """
    dataset, chosen = _dataset(loader), np.asarray(positions, dtype=np.int64)
    if chosen.ndim != 1 or not chosen.size or chosen.min() < 0 or chosen.max() >= len(dataset):
        found = f"{chosen.min()}..{chosen.max()}" if chosen.size else "none"
        raise ConfigError(f"`positions` must be a row of at least one number in 0..{len(dataset) - 1}, got {found}.")
    if offers(dataset, DataSource):
        return dataset.batch(chosen)
    if getattr(loader, "batch_size", None) is None and getattr(loader, "batch_sampler", None) is None:
        raise ConfigError(
            "the loader has `batch_size=None`, so its data set hands out whole batches and single images cannot be "
            "chosen; use a DataLoader with a batch size."
        )
    return loader.collate_fn([dataset[int(position)] for position in chosen])


def validation_loader(trainer: L.Trainer) -> Any:
    """The validation loader of a fit, the first if there are several.

    Raises:
        ConfigError: There is none.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    if trainer.val_dataloaders is None and trainer.enable_validation and trainer.training:
        # Without a sanity check Lightning asks for the loader at the first validation only.
        trainer.validating = True
        loop.setup_data()
        trainer.training = True
    loader = trainer.val_dataloaders
    while isinstance(loader, list | tuple | dict) and loader:
        loader = next(iter(loader.values() if isinstance(loader, dict) else loader))
    if loader is None or isinstance(loader, list | tuple | dict):
        raise ConfigError("there is no validation loader; give `val_dataloaders` or a data module that has one.")
    return loader


def _dataset(loader: Any) -> Any:
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        kind = type(loader).__name__ if dataset is None else type(dataset).__name__
        raise ConfigError(
            f"images are chosen by position, which {kind} does not allow; use a DataLoader of a map-style data set "
            "(one with __len__ and __getitem__), or a data module of this package."
        )
    return dataset
