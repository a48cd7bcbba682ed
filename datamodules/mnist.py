"""MNIST and Fashion-MNIST, and any other set of 28x28 images in their four files."""

from pathlib import Path
from typing import ClassVar, Unpack

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.download import download, fetch_whole
from lightning_gvae.datamodules.idx import read_idx
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["FILES", "FashionMNISTDataModule", "MNISTDataModule"]

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class MNISTDataModule(ImageDataModule):
    """28x28 grey images in ten classes, from the four official IDX files, ``.gz`` or not.

    The files are looked for in ``root``, ``root/raw`` and ``root/MNIST/raw`` (where torchvision puts them), and may
    hold any number of images. The validation part is cut from the training file; the test file is the test part.

    Args:
        root: Folder of the files.
        val_size: Images held out for validation.
        name: Name of the data set; another one for other files in the same format.
        download: Fetch the files into ``root/MNIST/raw`` if they are not found; their MD5 sums are checked.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`; or ``download`` is asked for
            under another name than the data set's own.
        DataError: From ``prepare_data``: the download failed. From ``setup``: a file is missing or damaged, the images
            are not 28x28, a label is above 9, or a file of labels has not as many entries as its images.

    References:
        LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, 1998.
    """

    OWN_NAME: ClassVar[str] = "mnist"
    TORCHVISION: ClassVar[str] = "MNIST"  # its class, and the folder it makes
    CLASS_NAMES: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def __init__(
        self,
        root: str | Path,
        val_size: int = 5000,
        name: str = "mnist",
        download: bool = False,
        **options: Unpack[LoaderOptions],
    ) -> None:
        if download and name != self.OWN_NAME:
            raise ConfigError(
                f"`download` fetches {self.TORCHVISION}, but `name` is {name!r}; set `name` to {self.OWN_NAME!r}, or"
                f" `download` to false and put the files of {name!r} into `root`"
            )
        spec = DataSpec(name, (1, 28, 28), num_classes=10, class_names=self.CLASS_NAMES)
        super().__init__(spec, val_size, None, **options)
        self.root = Path(root)
        self.download = download

    def prepare_data(self) -> None:
        """Download the files if that is allowed and they are not there; Lightning calls this once a node."""
        if not self.download:
            return
        root = self.root.expanduser()
        try:
            _found(root, self.TORCHVISION)
        except DataError:
            files, place = [f"{name}.gz" for name in FILES], root / self.TORCHVISION / "raw"
            download(lambda: fetch_whole(self._fetch, root), self.TORCHVISION, files, place)

    def load(self) -> tuple[ImageArrays, ImageArrays]:
        """Training file and test file."""
        train_images, train_labels, test_images, test_labels = _found(self.root.expanduser(), self.TORCHVISION)
        return _arrays(train_images, train_labels), _arrays(test_images, test_labels)

    def _fetch(self, folder: Path) -> None:
        from torchvision import datasets  # here, because it takes a second that other runs need not wait for

        getattr(datasets, self.TORCHVISION)(str(folder), download=True)


class FashionMNISTDataModule(MNISTDataModule):
    """28x28 grey images of ten kinds of clothing, in the same four files as MNIST.

    The files are looked for in ``root``, ``root/raw`` and ``root/FashionMNIST/raw`` (where torchvision puts them). All
    else is as for :class:`MNISTDataModule`.

    Args:
        root: Folder of the files.
        val_size: Images held out for validation.
        name: Name of the data set.
        download: Fetch the files into ``root/FashionMNIST/raw`` if they are not found; their MD5 sums are checked.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`MNISTDataModule`.
        DataError: As for :class:`MNISTDataModule`.

    References:
        Xiao, Rasul, Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017.
    """

    OWN_NAME = "fashion_mnist"
    TORCHVISION = "FashionMNIST"
    CLASS_NAMES = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )

    def __init__(
        self,
        root: str | Path,
        val_size: int = 5000,
        name: str = "fashion_mnist",
        download: bool = False,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(root, val_size, name, download, **options)


def _found(root: Path, subfolder: str) -> list[Path]:
    """The four files, all in one folder, so that images and labels of two copies are never mixed."""
    missing = {}
    for folder in (root, root / "raw", root / subfolder / "raw"):
        choices = [[folder / name, folder / f"{name}.gz"] for name in FILES]
        paths = [next((path for path in pair if path.is_file()), None) for pair in choices]
        if None not in paths:
            return [path for path in paths if path is not None]
        missing[folder] = [name for name, path in zip(FILES, paths, strict=True) if path is None]
    # The folder that lacks the fewest files is the one that the user meant.
    folder = min(missing, key=lambda candidate: len(missing[candidate]))
    raise DataError(
        f"{missing[folder][0]} (or {missing[folder][0]}.gz) was not found in {folder}; put the four files"
        f" {', '.join(FILES)}, each plain or as .gz, into `root` ({root}), its folder raw or its folder"
        f" {subfolder}/raw, or set data.download=true"
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
