"""The data of an architecture search, taken out of the run's data module."""

from typing import Any, Literal

import lightning as L
import numpy as np

from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, Part
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.content import array_hash

__all__ = ["candidate_data", "data_settings", "part_of"]

PARTS = ("train_set", "val_set", "test_set")


def part_of(split: Any, count: int | None) -> Part:
    """The first ``count`` images of a part of a data module; None takes all."""
    images, labels = split.batch(np.arange(len(split) if count is None else min(count, len(split))))
    return Part(images.cpu().numpy(), labels.cpu().numpy())


def candidate_data(
    trainer: L.Trainer, train_images: int | None, score_images: int | None, score_split: Literal["val", "test"]
) -> CandidateData:
    """Data that candidates are trained, stopped and scored on.

    Args:
        trainer: Of the run, with a data module that is set up.
        train_images: Training images at most; None takes all.
        score_images: Validation and test images at most; None takes all.
        score_split: Part that gives the loss.

    Raises:
        ConfigError: The data module lacks a part.
    """
    datamodule: Any = getattr(trainer, "datamodule", None)
    missing = [name for name in PARTS if getattr(datamodule, name, None) is None]
    if missing:
        raise ConfigError(
            f"an architecture search needs a data module with train_set, val_set and test_set, as those of this "
            f"package have; {type(datamodule).__name__} lacks {', '.join(missing)}"
        )
    train = part_of(datamodule.train_set, train_images)
    val, test = part_of(datamodule.val_set, score_images), part_of(datamodule.test_set, score_images)
    return CandidateData(train, val, val if score_split == "val" else test, test)


def data_settings(trainer: L.Trainer, data: CandidateData) -> dict[str, Any]:
    """Description of the data for a journal: names and sizes, and a hash of all images and labels."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "name": getattr(getattr(datamodule, "spec", None), "name", None),
        "seed": getattr(datamodule, "seed", None),
        "split_seed": getattr(datamodule, "split_seed", None),
        "train": len(data.train),
        "val": len(data.val),
        "test": len(data.test),
        "content": array_hash(
            *(array for part in (data.train, data.val, data.test) for array in (part.images, part.labels))
        ),
    }
