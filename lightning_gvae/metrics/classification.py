"""Scores of predicted classes: accuracy, and precision, recall and F1 averaged over the classes."""

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import ConfigError

__all__ = ["classification_scores"]


def classification_scores(
    truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int
) -> dict[str, float]:
    """Accuracy, and precision, recall and F1, each the mean over all classes (0 of one that never occurs).

    Args:
        truth: Classes 0..K-1, ``(N,)``.
        predicted: The same, as a classifier has it.
        classes: K.

    Returns:
        ``accuracy``, ``precision``, ``recall`` and ``f1``, in [0, 1].

    Raises:
        ConfigError: There is nothing to compare, or the two have different lengths.

    >>> classification_scores(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)["accuracy"]
    0.75
    """
    if truth.shape != predicted.shape or truth.ndim != 1 or not len(truth):
        raise ConfigError(f"`truth` and `predicted` must be equally long vectors, got {truth.shape}, {predicted.shape}")
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (truth, predicted), 1)
    hits = np.diag(confusion)
    precision = hits / np.maximum(confusion.sum(0), 1)
    recall = hits / np.maximum(confusion.sum(1), 1)
    f1 = 2 * hits / np.maximum(confusion.sum(0) + confusion.sum(1), 1)
    return {
        "accuracy": float(hits.sum() / confusion.sum()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
    }
