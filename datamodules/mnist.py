"""MNIST, and any set of 28x28 images in its four files, such as Fashion-MNIST."""

from pathlib import Path
from typing import Unpack

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.idx import read_idx
from lightning_gvae.errors import DataError

__all__ = ["FILES", "MNISTDataModule"]

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FOLDERS = ("", "raw", "MNIST/raw")


class MNISTDataModule(ImageDataModule):
    """28x28 grey images in ten classes, from the four official IDX files, ``.gz`` or not.

    The files are looked for in ``root``, ``root/raw`` and ``root/MNIST/raw`` (where torchvision puts them), and may
    hold any number of images. The validation part is cut from the training file; the test file is the test part.

    Args:
        root: Folder of the files.
        val_size: Images held out for validation.
        name: Name of the data set, for example ``"fashion_mnist"``.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: From ``setup``: a file is missing or damaged, the images are not 28x28, a label is above 9, or a
            file of labels has not as many entries as its images.

    References:
        LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, 1998.
    """

    def __init__(
        self,
        root: str | Path,
        val_size: int = 5000,
        name: str = "mnist",
        **options: Unpack[LoaderOptions],
    ) -> None:
        spec = DataSpec(name, (1, 28, 28), num_classes=10)
        super().__init__(spec, val_size, None, **options)
        self.root = Path(root)

    def load(self) -> tuple[ImageArrays, ImageArrays]:
        """Training file and test file."""
        train_images, train_labels, test_images, test_labels = _found(self.root.expanduser())
        return _arrays(train_images, train_labels), _arrays(test_images, test_labels)


def _found(root: Path) -> list[Path]:
    """The four files, all in one folder, so that images and labels of two copies are never mixed."""
    missing = {}
    for folder in (root / name for name in FOLDERS):
        choices = [[folder / name, folder / f"{name}.gz"] for name in FILES]
        paths = [next((path for path in pair if path.is_file()), None) for pair in choices]
        if None not in paths:
            return [path for path in paths if path is not None]
        missing[folder] = [name for name, path in zip(FILES, paths, strict=True) if path is None]
    # The folder that lacks the fewest files is the one that the user meant.
    folder = min(missing, key=lambda candidate: len(missing[candidate]))
    raise DataError(
        f"{missing[folder][0]} (or {missing[folder][0]}.gz) was not found in {folder}; put the four files"
        f" {', '.join(FILES)}, each plain or as .gz, into `root` ({root}), its folder raw or its folder MNIST/raw"
    )


def _arrays(image_file: Path, label_file: Path) -> ImageArrays:
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{image_file} must hold images of 28x28 pixels, found {images.shape[1]}x{images.shape[2]}")
    if len(images) != len(labels):
        raise DataError(
            f"{label_file} must hold as many labels as {image_file.name} holds images, {len(images)}, found"
            f" {len(labels)}; the files are of different sets"
        )
    if len(labels) and labels.max() > 9:
        raise DataError(f"{label_file} must hold labels 0..9, found {labels.max()}")
    return ImageArrays(images[:, None], labels)
