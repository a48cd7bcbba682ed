import json
import math
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.examples import examples
from lightning_gvae.datamodules.mnist import MNISTDataModule
from lightning_gvae.datamodules.summary import PixelCounts, summarise, time_reading
from lightning_gvae.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
COUNT = 50


class Given(ImageDataModule):
    """Arrays of the test; 9 of the images are held out for validation, 6 for testing."""

    def __init__(self, images, targets, batch_size=8, **spec):
        super().__init__(DataSpec("given", images.shape[1:], **spec), 9, 6, batch_size=batch_size)
        self.arrays = ImageArrays(images, targets)
        self.setup()

    def load(self):
        return self.arrays, None

    def part(self, name):
        split = {"train": self.train_set, "val": self.val_set, "test": self.test_set}[name]
        return self.arrays.images[split.indices], self.arrays.targets[split.indices]


def random_images(channels=1):
    images = RNG.integers(0, 256, (COUNT, channels, 5, 7), dtype=np.uint8)
    images[::3] = 0
    images[1::5] = 255
    return images


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_figures_are_numpy_s_over_train_and_val(channels):
    module = Given(random_images(channels), np.zeros(COUNT, int))
    seen = np.concatenate([module.part("train")[0], module.part("val")[0]])
    pixels = summarise(module).pixels
    assert pixels.mean == pytest.approx((seen / 255).mean(axis=(0, 2, 3)), rel=1e-12)
    assert pixels.std == pytest.approx((seen / 255).std(axis=(0, 2, 3)), rel=1e-12)
    assert len(pixels.mean) == len(pixels.std) == channels
    assert pixels.range == (seen.min(), seen.max())
    assert pixels.grey_values == len(np.unique(seen))
    assert pixels.black == np.mean(seen == 0)
    assert pixels.white == np.mean(seen == 255)
    assert not pixels.binary


def test_binary_images_are_seen_to_be_so_whatever_the_spec_says():
    images = np.where(random_images() > 127, 255, 0).astype(np.uint8)
    pixels = summarise(Given(images, np.zeros(COUNT, int))).pixels
    assert pixels.binary and pixels.black + pixels.white == 1
    assert pixels.std[0] == pytest.approx(math.sqrt(pixels.mean[0] * (1 - pixels.mean[0])))
    images[0, 0, 0, 0] = images[-1, 0, 0, 0] = 1
    changed = summarise(Given(np.where(images == 255, 254, images).astype(np.uint8), np.zeros(COUNT, int))).pixels
    assert not changed.binary


def test_large_counts_do_not_overflow_or_round():
    many = 2**50
    counts = [0] * 256
    counts[100], counts[102] = many, many
    pixels = PixelCounts((tuple(counts),))
    assert pixels.mean == [101 / 255] and pixels.std == [1 / 255]


@pytest.mark.parametrize("chunk", [1, 35, 36, 1000])
def test_chunks_do_not_change_the_figures(chunk):
    labels = RNG.integers(0, 4, COUNT)
    module = Given(random_images(3), labels, num_classes=4)
    assert summarise(module, chunk) == summarise(module)


def test_labels_are_counted_in_every_part_by_name():
    labels = RNG.integers(0, 3, COUNT)
    module = Given(random_images(), labels, num_classes=4, class_names=("cat", "dog", "owl", "yak"))
    summary = summarise(module)
    assert summary.sizes == {"train": 35, "val": 9, "test": 6}
    assert summary.labels is not None
    for part, counts in summary.labels.counts.items():
        assert list(counts) == np.bincount(module.part(part)[1], minlength=4).tolist()
    assert summary.as_dict()["labels"]["train"]["yak"] == 0
    assert "owl" in dict(summary.rows())["labels"]


def test_many_classes_are_one_line():
    text = dict(summarise(Given(random_images(), np.arange(COUNT), num_classes=COUNT)).rows())["labels"]
    assert text == "50 classes, 0 to 1 training images each"


def test_factors_are_listed_and_those_of_two_classes_are_attributes():
    targets = np.stack([RNG.integers(0, size, COUNT) for size in (2, 5, 2)], axis=1)
    names = {"factor_names": ("hat", "size", "smile"), "factor_sizes": (2, 5, 2)}
    module = Given(random_images(), targets, **names)
    summary = summarise(module)
    figures = summary.as_dict()
    assert figures["factors"] == {"size": 5}
    assert sum(summary.factors[0].counts["train"]) == 35
    for column, name in ((0, "hat"), (2, "smile")):
        for part in ("train", "val", "test"):
            assert figures["attributes"][name][part] == module.part(part)[1][:, column].mean()
    assert "smile=" in dict(summary.rows())["attributes"] and "labels" not in figures
    assert json.loads(json.dumps(figures)) == figures


def test_targets_without_a_meaning_are_said_to_be_so():
    assert dict(summarise(Given(random_images(), np.zeros(COUNT, int))).rows())["targets"] == "none"
    positions = summarise(Given(random_images(), RNG.integers(1, 99, (COUNT, 10))))
    assert positions.as_dict()["numbers"] == 10 and "10 integers" in dict(positions.rows())["targets"]


def test_targets_that_contradict_the_spec_are_refused():
    with pytest.raises(DataError, match=r"given/train must be classes 0\.\.2, as `spec` says, found 0 to 3"):
        summarise(Given(random_images(), np.arange(COUNT) % 4, num_classes=3))
    with pytest.raises(DataError, match="must be 1 integers an image, as `spec` says, got 2"):
        summarise(Given(random_images(), np.zeros((COUNT, 2), int), num_classes=3))


def test_digits_agree_with_scikit_learn():
    module = DigitsDataModule()
    module.setup()
    summary, digits = summarise(module), load_digits()
    seen = np.concatenate([module.train_set.indices, module.val_set.indices])
    values = np.rint(digits.images[seen] * (255 / 16)) / 255
    assert summary.pixels.mean == pytest.approx([values.mean()], rel=1e-12)
    assert summary.pixels.std == pytest.approx([values.std()], rel=1e-12)
    assert summary.pixels.grey_values == 17
    assert summary.labels is not None
    together = np.sum(list(summary.labels.counts.values()), axis=0)
    assert together.tolist() == np.bincount(digits.target).tolist()


def test_mnist_has_the_published_figures(data_dir):
    module = MNISTDataModule(data_dir / "mnist")
    module.setup()
    summary = summarise(module)
    assert [round(summary.pixels.mean[0], 4), round(summary.pixels.std[0], 4)] == [0.1307, 0.3081]
    assert summary.labels is not None
    counts = {part: np.array(count) for part, count in summary.labels.counts.items()}
    assert (counts["train"] + counts["val"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts["test"].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_reading_is_timed_for_as_long_as_asked():
    module = Given(random_images(), np.zeros(COUNT, int))
    start = time.perf_counter()
    reading = time_reading(module, seconds=0.05)
    assert 0.05 <= reading.seconds <= time.perf_counter() - start
    assert reading.batches > reading.batches_per_epoch == 4  # pass after pass
    assert reading.images_per_second == pytest.approx(reading.batches * 8 / reading.seconds)
    assert reading.epoch_seconds == pytest.approx(4 * 8 / reading.images_per_second)


def test_a_batch_larger_than_the_training_part_is_refused_as_in_training():
    with pytest.raises(ConfigError, match="`batch_size` 36"):
        time_reading(Given(random_images(), np.zeros(COUNT, int), batch_size=36))


def test_examples_by_class_are_training_images_of_that_class():
    labels = np.where(np.arange(COUNT) < 2, 1, 0)
    module = Given(random_images(), labels, num_classes=3, class_names=("many", "few", "no"))
    rows = dict(examples(module, columns=4))
    images, found = module.part("train")
    assert [len(rows[name]) for name in ("many", "few", "no")] == [4, (found == 1).sum(), 0]
    for name, label in (("many", 0), ("few", 1)):
        of_class = {image.tobytes() for image in images[found == label]}
        assert {image.tobytes() for image in rows[name]} <= of_class
    assert np.array_equal(dict(examples(module, columns=4))["many"], rows["many"])


def test_examples_without_few_classes_are_any_training_images_each_once():
    images = np.arange(COUNT, dtype=np.uint8).reshape(-1, 1, 1, 1)
    module = Given(images, np.zeros(COUNT, int))
    rows = examples(module, rows=3, columns=5)
    assert [(name, image.shape) for name, image in rows] == [("", (5, 1, 1, 1))] * 3
    shown = np.concatenate([image.ravel() for _, image in rows])
    assert len(set(shown)) == 15 and set(shown) <= set(module.train_set.indices)
    assert [len(image) for _, image in examples(module, rows=10, columns=10)] == [10, 10, 10, 5]
