"""The data of an architecture search, taken out of the run's data module."""

from typing import Any

import lightning as L
import numpy as np

from lightning_gvae.callbacks.architecture_evolution.settings import CandidateTrainingSettings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, LabelledImages
from lightning_gvae.errors import ConfigError
from lightning_gvae.io.content import array_hash

__all__ = ["candidate_data", "data_settings", "labelled_images"]

PARTS = ("train_set", "val_set", "test_set")


def labelled_images(split: Any, count: int | None) -> LabelledImages:
    """The first ``count`` images of a part of a data module; None takes all."""
    images, labels = split.batch(np.arange(len(split) if count is None else min(count, len(split))))
    return LabelledImages(images.cpu().numpy(), labels.cpu().numpy())


def candidate_data(trainer: L.Trainer, settings: CandidateTrainingSettings) -> CandidateData:
    """Data that candidates are trained, stopped and scored on.

    Args:
        trainer: Of the run, with a data module that is set up.
        settings: How many images there are, and which part gives the loss.

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
    train = labelled_images(datamodule.train_set, settings.train_images)
    val = labelled_images(datamodule.val_set, settings.score_images)
    test = labelled_images(datamodule.test_set, settings.score_images)
    return CandidateData(train, val, val if settings.score_split == "val" else test, test)


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
