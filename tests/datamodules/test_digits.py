import numpy as np
from sklearn.datasets import load_digits

from lightning_gvae.datamodules.digits import DigitsDataModule


def test_images_are_the_stretched_originals_and_each_is_in_one_part():
    module = DigitsDataModule()
    module.setup()
    parts = (module.train_set, module.val_set, module.test_set)
    assert [len(part) for part in parts] == [1197, 200, 400]
    order = np.concatenate([part.indices for part in parts])
    assert np.array_equal(np.sort(order), np.arange(1797))
    digits = load_digits()
    batches = [part.batch(np.arange(len(part))) for part in parts]
    images = np.concatenate([images for images, _ in batches]).astype(float)
    assert np.abs(images[:, 0] * 16 / 255 - digits.images[order]).max() <= 0.5 * 16 / 255
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), digits.target[order])


def test_every_digit_is_in_every_part():
    module = DigitsDataModule(val_size=100, test_size=100)
    module.setup()
    for part in (module.train_set, module.val_set, module.test_set):
        assert set(part.batch(range(len(part)))[1].tolist()) == set(range(10))
    assert (module.spec.image_shape, module.spec.num_classes) == ((1, 8, 8), 10)
