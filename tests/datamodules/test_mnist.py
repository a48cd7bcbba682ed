import gzip
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import MNIST, FashionMNIST

from lightning_gvae.datamodules.mnist import FILES, FashionMNISTDataModule, MNISTDataModule
from lightning_gvae.errors import ConfigError, DataError
from tests.datamodules.test_idx import idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 28, 28), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 50).astype(np.uint8)


def write(folder: Path, train: int = 40, test: int = 10, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = IMAGES[:train], LABELS[:train], IMAGES[train : train + test], LABELS[train : train + test]
    for name, array in zip(FILES, arrays, strict=True):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_and_read(tmp_path, folder, packed):
    write(tmp_path / folder, packed=packed)
    module = MNISTDataModule(str(tmp_path), val_size=8)
    module.setup()
    images, labels = module.test_set.batch(range(10))
    assert np.array_equal(images[:, 0], IMAGES[40:]) and labels.tolist() == LABELS[40:].tolist()
    # Training and validation parts together are the training file.
    both = [part.batch(range(len(part))) for part in (module.train_set, module.val_set)]
    found = sorted((image.numpy().tobytes(), int(label)) for part in both for image, label in zip(*part, strict=True))
    assert found == sorted((image.tobytes(), int(label)) for image, label in zip(IMAGES[:40], LABELS, strict=False))


def test_the_spec_is_known_before_the_files(tmp_path):
    for spec, name in (
        (MNISTDataModule(tmp_path).spec, "mnist"),
        (MNISTDataModule(tmp_path, name="kmnist").spec, "kmnist"),
        (FashionMNISTDataModule(tmp_path).spec, "fashion_mnist"),
    ):
        assert (spec.name, spec.image_shape, spec.num_classes) == (name, (1, 28, 28), 10)
    assert MNISTDataModule(tmp_path).spec.class_names == tuple("0123456789")
    assert FashionMNISTDataModule(tmp_path).spec.class_names == tuple(FashionMNIST.classes)


def test_the_two_sets_can_share_a_root(tmp_path):
    write(tmp_path / "MNIST/raw", train=20)
    with pytest.raises(
        DataError, match=f"was not found in {tmp_path}; .* its folder raw or its folder FashionMNIST/raw"
    ):
        FashionMNISTDataModule(tmp_path, val_size=8).setup()
    write(tmp_path / "FashionMNIST/raw", train=30)
    for module, count in ((MNISTDataModule(tmp_path, val_size=8), 12), (FashionMNISTDataModule(tmp_path, 8), 22)):
        module.setup()
        assert len(module.train_set) == count


def test_any_number_of_images_is_taken_but_some_must_be_left_to_train_on(tmp_path):
    write(tmp_path, train=9, test=1)
    MNISTDataModule(tmp_path, val_size=8).setup()
    with pytest.raises(ConfigError, match="`val_size` 5000 leave no training image of the 9 in mnist"):
        MNISTDataModule(tmp_path).setup()


@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw"])
def test_a_missing_file_is_named_with_its_folder_and_the_remedy(tmp_path, folder):
    (write(tmp_path / folder) / FILES[2]).unlink()
    with pytest.raises(DataError) as error:
        MNISTDataModule(tmp_path).setup()
    message = str(error.value)
    assert message.startswith(f"{FILES[2]} (or {FILES[2]}.gz) was not found in {tmp_path / folder};")
    assert all(name in message for name in FILES) and f"`root` ({tmp_path})" in message
    assert message.endswith("or set data.download=true")


def test_an_empty_folder_is_reported_with_its_first_file(tmp_path):
    with pytest.raises(DataError, match=f"^{FILES[0]} .* was not found in {tmp_path};"):
        MNISTDataModule(tmp_path).setup()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (FILES[1], LABELS[:39], "must hold as many labels as train-images-idx3-ubyte holds images, 40, found 39"),
        (FILES[0], IMAGES[:40, :20], "must hold images of 28x28 pixels, found 20x28"),
        (FILES[3], np.full(10, 10, np.uint8), "must hold labels 0..9, found 10"),
        (FILES[0], LABELS[:40], "must start with the IDX magic number 00 00 08 03"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, name, array, message):
    (write(tmp_path) / name).write_bytes(idx(array))
    with pytest.raises(DataError, match=message):
        MNISTDataModule(tmp_path, val_size=8).setup()


HISTOGRAMS = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
    "fashion_mnist": ([6000] * 10, [1000] * 10),
}
REAL = [(MNISTDataModule, "mnist", 0.1307, 0.3081), (FashionMNISTDataModule, "fashion_mnist", 0.2860, 0.3530)]


@pytest.mark.parametrize(("kind", "name", "mean", "std"), REAL)
def test_the_real_files_have_the_published_statistics(data_dir, kind, name, mean, std):
    module = kind(data_dir / name)
    module.setup()
    assert (len(module.train_set), len(module.val_set), len(module.test_set)) == (55_000, 5_000, 10_000)
    pixels, labels = [], []
    for part in (module.train_set, module.val_set, module.test_set):
        images, targets = part.batch(np.arange(len(part)))
        pixels.append(images.numpy())
        labels.append(np.bincount(targets.numpy(), minlength=10))
    train = np.concatenate(pixels[:2]) / np.float32(255)
    assert train.mean(dtype=float) == pytest.approx(mean, abs=5e-5)
    assert train.std(dtype=float) == pytest.approx(std, abs=5e-5)
    assert ((labels[0] + labels[1]).tolist(), labels[2].tolist()) == HISTOGRAMS[name]


@pytest.mark.parametrize(
    ("kind", "name", "reader"),
    [(MNISTDataModule, "mnist", MNIST), (FashionMNISTDataModule, "fashion_mnist", FashionMNIST)],
)
def test_the_real_files_are_those_that_torchvision_reads(data_dir, tmp_path, kind, name, reader):
    raw = tmp_path / reader.__name__ / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(gzip.decompress((data_dir / name / f"{file}.gz").read_bytes()))
    module = kind(tmp_path)
    module.setup()
    theirs = reader(str(tmp_path), train=True)
    for part in (module.train_set, module.val_set):
        images, labels = part.batch(np.arange(len(part)))
        assert np.array_equal(images[:, 0], theirs.data[part.indices])
        assert np.array_equal(labels, theirs.targets[part.indices])
    theirs = reader(str(tmp_path), train=False)
    images, labels = module.test_set.batch(np.arange(10_000))
    assert np.array_equal(images[:, 0], theirs.data) and np.array_equal(labels, theirs.targets)
