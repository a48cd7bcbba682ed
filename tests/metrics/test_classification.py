"""Scores of predicted classes against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.classification import classification_scores


@pytest.mark.parametrize("classes", [2, 5])
def test_they_are_scikit_learns_macro_averages(classes):
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, 200)
    predicted = np.where(random.random(200) < 0.6, truth, random.integers(0, classes, 200))
    options = {"average": "macro", "zero_division": 0, "labels": range(classes)}
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": metrics.precision_score(truth, predicted, **options),
        "recall": metrics.recall_score(truth, predicted, **options),
        "f1": metrics.f1_score(truth, predicted, **options),
    }
    assert classification_scores(truth, predicted, classes) == pytest.approx(expected)


def test_classes_that_never_occur_count_as_missed():
    scores = classification_scores(np.array([0, 0, 1]), np.array([0, 0, 0]), 4)
    assert scores == pytest.approx({"accuracy": 2 / 3, "precision": 2 / 12, "recall": 0.25, "f1": 0.2})


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(ConfigError, match="equally long"):
        classification_scores(np.array([0]), np.array([0, 1]), 2)
