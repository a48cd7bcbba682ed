"""Classifiers across real and generated images: real ones pass for good, one picture again and again does not."""

import numpy as np
import pytest

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.studies.collapse.classification import SCORES, CrossClassifiers


@pytest.fixture(scope="module")
def digits():
    module = DigitsDataModule()
    module.setup()
    return module


@pytest.fixture(scope="module")
def classifiers(digits):
    return CrossClassifiers(digits, 1000, 300)


def test_real_images_are_classified_as_well_as_real_ones_both_ways(digits, classifiers):
    images, labels = digits.train_set.batch(np.arange(1000))
    scores = classifiers.scores(images.numpy(), labels.numpy())
    assert tuple(scores) == SCORES
    assert min(scores.values()) > 0.75


def test_one_image_again_and_again_teaches_one_class(digits, classifiers):
    images, labels = digits.train_set.batch(np.zeros(1000, dtype=np.int64))
    scores = classifiers.scores(images.numpy(), labels.numpy())
    assert scores["generated_to_real_accuracy"] < 0.25
    assert scores["generated_to_real_recall"] == pytest.approx(0.1, abs=1e-9)  # all of one class, none of nine others
    assert scores["real_to_generated_precision"] <= 0.1 + 1e-9
