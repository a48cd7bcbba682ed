"""The data of an architecture search, taken out of the run's data module."""

from typing import Any, Protocol

import lightning as L
import numpy as np

from lightning_gvae.callbacks.architecture_evolution.settings import CandidateTrainingSettings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, CandidateImages
from lightning_gvae.interfaces import DataModule, DataSource, offers, require
from lightning_gvae.io.content import array_hash
from lightning_gvae.lightning_compat import datamodule_of

__all__ = ["candidate_data", "candidate_images", "data_settings", "searched_data"]


class Seeded(Protocol):
    """Data module whose draws follow from a seed."""

    seed: int


class SplitSeeded(Protocol):
    """Data module whose parts follow from a seed of their own."""

    split_seed: int | None


def searched_data(trainer: L.Trainer) -> DataModule:
    """Data module of a run with a search.

    Raises:
        ConfigError: There is none, or it lacks a part.
    """
    remedy = "Fit with `datamodule=`, one of this package or like them"
    return require(datamodule_of(trainer), DataModule, "an architecture search", remedy)


def candidate_images(split: DataSource, count: int | None) -> CandidateImages:
    """The first ``count`` images of a part of a data module; None takes all."""
    images, labels = split.batch(np.arange(len(split) if count is None else min(count, len(split))))
    return CandidateImages(images.cpu().numpy(), labels.cpu().numpy())


def candidate_data(trainer: L.Trainer, settings: CandidateTrainingSettings) -> CandidateData:
    """Data that candidates are trained, stopped and scored on.

    Args:
        trainer: Of the run, with a data module that is set up.
        settings: How many images there are, and which part gives the loss.

    Raises:
        ConfigError: The data module lacks a part.
    """
    datamodule = searched_data(trainer)
    train = candidate_images(datamodule.train_set, settings.train_images)
    val = candidate_images(datamodule.val_set, settings.score_images)
    test = candidate_images(datamodule.test_set, settings.score_images)
    return CandidateData(train, val, val if settings.score_split == "val" else test, test)


def data_settings(trainer: L.Trainer, data: CandidateData) -> dict[str, Any]:
    """Description of the data for a journal: names and sizes, and a hash of all images and labels."""
    datamodule = searched_data(trainer)
    return {
        "name": datamodule.spec.name,
        "seed": datamodule.seed if offers(datamodule, Seeded) else None,
        "split_seed": datamodule.split_seed if offers(datamodule, SplitSeeded) else None,
        "train": len(data.train),
        "val": len(data.val),
        "test": len(data.test),
        "content": array_hash(
            *(array for part in (data.train, data.val, data.test) for array in (part.images, part.labels))
        ),
    }
