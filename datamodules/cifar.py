"""CIFAR-10 from its official Python version, in a folder or still in its archive."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Unpack

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.download import download, fetch_whole
from lightning_gvae.datamodules.safe_pickle import check_size, read_pickle
from lightning_gvae.errors import DataError

__all__ = ["ARCHIVE", "CLASS_NAMES", "FILES", "FOLDER", "CIFAR10DataModule", "read_batch"]

FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
CHUNK = 1 << 20

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class CIFAR10DataModule(ImageDataModule):
    """32x32 colour images in ten classes, from the six files of the Python version.

    The files are looked for in ``root`` and ``root/cifar-10-batches-py``, then in ``root/cifar-10-python.tar.gz``,
    which is read without being unpacked. They may hold any number of images. The validation part is cut from the five
    training files; ``test_batch`` is the test part.

    The files are pickles; they are read by :mod:`lightning_gvae.datamodules.safe_pickle`, which refuses every name that
    arrays of bytes do not need.

    Args:
        root: Folder of the files.
        val_size: Images held out for validation.
        download: Fetch the archive and unpack it in ``root`` if nothing is found; its MD5 sum is checked.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: From ``prepare_data``: the download failed. From ``setup``: a file is missing or damaged, is
            something else than images 3x32x32 with labels 0..9, or asks for code to be run.

    References:
        Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    def __init__(
        self,
        root: str | Path,
        val_size: int = 5000,
        download: bool = False,
        **options: Unpack[LoaderOptions],
    ) -> None:
        spec = DataSpec("cifar10", SHAPE, num_classes=len(CLASS_NAMES), class_names=CLASS_NAMES)
        super().__init__(spec, val_size, None, **options)
        self.root = Path(root)
        self.download = download

    def prepare_data(self) -> None:
        """Download the files if that is allowed and they are not there; Lightning calls this once a node."""
        if not self.download:
            return
        root = self.root.expanduser()
        try:
            _found(root)
        except DataError:
            download(lambda: fetch_whole(_fetch, root), "CIFAR-10", [ARCHIVE], root)

    def load(self) -> tuple[ImageArrays, ImageArrays]:
        """The five training files, and the test file."""
        found = _found(self.root.expanduser())
        members = _folder_members(found) if found.is_dir() else _archive_members(found)
        batches = {name: read_batch(content, source) for name, content, source in members}
        if missing := [name for name in FILES if name not in batches]:
            raise DataError(f"{found} must hold {FOLDER}/{missing[0]}, which is not in it; fetch it again")
        training = [batches[name] for name in FILES[:-1]]
        images, labels = (np.concatenate(parts) for parts in zip(*training, strict=True))
        return ImageArrays(images, labels), ImageArrays(*batches[FILES[-1]])


def read_batch(content: bytes, source: str) -> tuple[Images, Labels]:
    """Images uint8 ``(N, 3, 32, 32)`` and labels int64 ``(N,)`` of one pickled file.

    Args:
        content: The pickle: a dict with ``data``, uint8 ``(N, 3072)``, and ``labels``, N integers 0..9.
        source: Name of the file, for messages.

    Raises:
        DataError: It is not such a pickle, or one that asks for code to be run.
    """
    batch = read_pickle(content, source)
    if not isinstance(batch, dict):
        raise DataError(f"{source} must be a pickled dict, found {type(batch).__name__}; it is another file")
    # Read as bytes and written again by Python 3, the file has keys of bytes.
    batch = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    for key in ("data", "labels"):
        if key not in batch:
            found = ", ".join(sorted(key for key in batch if isinstance(key, str)))[:200] or "none"
            raise DataError(f"{source} must have the keys data and labels, found {found}; it is another file")
    data, labels = batch["data"], batch["labels"]
    width = SHAPE[0] * SHAPE[1] * SHAPE[2]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != width:
        found = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"`data` in {source} must be an array of shape (N, {width}), found {found}")
    return np.asarray(data).reshape(-1, *SHAPE), _checked_labels(labels, len(data), source)


def _checked_labels(labels: object, count: int, source: str) -> Labels:
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != count:
        found = len(labels) if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"`labels` in {source} must be a list of {count}, one an image, found {found}")
    for position, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASS_NAMES):
            found = label if type(label) is int and abs(label) < 1000 else type(label).__name__
            raise DataError(f"`labels` in {source} must be integers 0..9, found {found} at position {position}")
    return np.array(labels, dtype=np.int64)


def _found(root: Path) -> Path:
    """The folder or the archive that holds the files, all six, so that two copies are never mixed."""
    missing = {folder: [name for name in FILES if not (folder / name).is_file()] for folder in (root, root / FOLDER)}
    for folder, names in missing.items():
        if not names:
            return folder
    if (root / ARCHIVE).is_file():
        return root / ARCHIVE
    # The folder that lacks the fewest files is the one that the user meant.
    folder = min(missing, key=lambda candidate: len(missing[candidate]))
    raise DataError(
        f"{missing[folder][0]} was not found in {folder}; put {ARCHIVE}, or the six files {', '.join(FILES)} from it,"
        f" into `root` ({root}), or set data.download=true"
    )


def _folder_members(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and place of each file."""
    for name in FILES:
        try:
            check_size((folder / name).stat().st_size, str(folder / name))
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror or error}") from error
        yield name, content, str(folder / name)


def _archive_members(path: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and place of each file, in the order of the archive: going back would decompress it again."""
    try:
        with _unpacked(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            for member in archive:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None and folder == FOLDER and name in FILES:
                    check_size(member.size, f"{path}:{member.name}")
                    yield name, stream.read(), f"{path}:{member.name}"
            while unpacked.read(CHUNK):  # the checksum comes after the last byte, which the archive does not need
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is a damaged or cut off archive ({error}); fetch it again") from error


def _unpacked(path: Path) -> gzip.GzipFile | BinaryIO:
    """The archive without gzip, which some browsers already undo."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _fetch(folder: Path) -> None:
    from torchvision.datasets import CIFAR10  # here, because it takes a second that other runs need not wait for
    from torchvision.datasets.utils import download_and_extract_archive

    # Not CIFAR10(download=True), which would also unpickle the files.
    download_and_extract_archive(CIFAR10.url, str(folder), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)
