"""The baselines that stand beside a model's samples."""

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.models import VAE


@pytest.fixture(scope="module")
def digits():
    module = DigitsDataModule()
    module.setup()
    return module


def test_the_mean_image_is_that_of_the_training_set_again_and_again(digits):
    images = torch.cat(list(RealData(digits, batch_size=100).baseline(250, "mean_image")))
    train = digits.train_set.batch(np.arange(len(digits.train_set)))[0].double() / 255
    assert images.shape == (250, 1, 8, 8)
    torch.testing.assert_close(images, train.mean(0).float().expand(250, -1, -1, -1))


def test_training_images_are_drawn_without_replacement(digits):
    drawn = [torch.cat(list(RealData(digits, seed).baseline(300, "training_images"))) for seed in (0, 0, 1)]
    train = digits.train_set.batch(np.arange(len(digits.train_set)))[0]
    known = {image.numpy().tobytes() for image in train}
    assert drawn[0].dtype == torch.uint8 and len(drawn[0]) == 300
    assert all(image.numpy().tobytes() in known for image in drawn[0])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_scores_of_the_baselines_say_what_they_must(digits):
    suite = Suite(samples=300, resamples=1, samplers=["prior", "mean_image", "training_images"], cache_dir=None)
    scores = suite.run(["fid", "is", "precision_recall", "class_balance"], VAE((1, 8, 8), network="mlp"), digits)
    floor = scores["score/fid/domain/training_images"]
    assert 10 * floor < min(scores["score/fid/domain/mean_image"], scores["score/fid/domain/prior"])
    assert scores["score/is/domain/mean_image"] == pytest.approx(1)
    assert scores["score/recall/domain/mean_image"] == 0
    assert scores["score/classes/domain/mean_image"] == 1 and scores["score/classes/domain/training_images"] == 10
