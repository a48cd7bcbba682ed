"""Base of the sets with an image for every combination of factors, from their official files."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_gvae.datamodules.arrays import ArrayImages, numbered_items
from lightning_gvae.datamodules.base import DataSpec, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.download import download, fetch_whole
from lightning_gvae.datamodules.parts import Size
from lightning_gvae.datamodules.prepared import prepared_array
from lightning_gvae.errors import DataError, checked_choice
from lightning_gvae.io.content import file_sample_hash

__all__ = ["FactorDataModule", "RemoteFile", "factor_classes", "grid_order", "grid_targets", "lanczos", "resized"]

SIZES = (64, 32, 16, 8)
VERSION = 1  # of what is prepared; another one makes other keys

Images = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]


class RemoteFile(NamedTuple):
    """A published file.

    Args:
        url: Where it is.
        md5: Its MD5 sum in hexadecimal digits.
    """

    url: str
    md5: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


class FactorDataModule(ImageDataModule):
    """Images with factors, from official files; a subclass says which files and what is in them.

    At the first start the images are prepared: brought to one shape, in the order of their factors, in a memory-mapped
    file of the cache.

    Args:
        spec: Name, shape of the images and names of the factors; their sizes may come from the files.
        root: Folder of the files, or the file.
        image_size: Rows and columns of the images, 64, 32, 16 or 8.
        val_size: Images held out for validation, a count or a share.
        test_size: Images held out for testing, a count or a share.
        download: Fetch the files if they are not found; their MD5 sums are checked.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: ``image_size`` is another number, or as for
            :class:`~lightning_gvae.datamodules.base.ImageDataModule`.
        DataError: From ``prepare_data``: the download failed. From ``setup``: a file is missing, damaged or another
            one.
    """

    FILES: ClassVar[tuple[RemoteFile, ...]] = ()

    def __init__(
        self,
        spec: DataSpec,
        root: str | Path,
        image_size: int = 64,
        val_size: Size = 5000,
        test_size: Size = 10_000,
        download: bool = False,
        cache_dir: str | Path | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        checked_choice("image_size", image_size, SIZES)
        shape = (spec.image_shape[0], image_size, image_size)
        super().__init__(replace(spec, image_shape=shape), val_size, test_size, **options)
        self.root, self.image_size, self.download = Path(root).expanduser(), image_size, download
        self.cache_dir = None if cache_dir is None else Path(cache_dir)

    @abstractmethod
    def found(self) -> list[Path]:
        """The files.

        Raises:
            DataError: One is missing.
        """

    @abstractmethod
    def classes(self, files: Sequence[Path]) -> Classes:
        """Classes of the factors ``(N, F)``, counted from 0, of the images as ``pieces`` yields them."""

    @abstractmethod
    def pieces(self, files: Sequence[Path]) -> Iterator[Images]:
        """All images in their order, some at a time, uint8 ``(n, C, S, S)`` of ``image_size`` S."""

    @property
    def remote(self) -> tuple[RemoteFile, ...]:
        """Published files, for the download."""
        return self.FILES

    def prepare_data(self) -> None:
        """Download the files if that is allowed and they are not there; Lightning calls this once a node."""
        if not self.download:
            return
        try:
            self.found()
        except DataError:
            urls, folder = [file.url for file in self.remote], self._folder
            download(lambda: fetch_whole(self._fetch, folder), self.spec.name, urls, folder)

    def load(self) -> tuple[ArrayImages, None]:
        """All images; there is no test set of their own."""
        files = self.found()
        targets = self.classes(files)
        sizes = tuple(int(size) for size in targets.max(0) + 1)
        is_grid = len(targets) == int(np.prod(sizes)) and np.array_equal(targets, grid_targets(sizes))
        self.spec = replace(self.spec, factor_sizes=sizes, is_grid=bool(is_grid))
        images = self.images(files, len(targets))
        identity = f"{self.spec.name}/{self.image_size}/{sizes}"
        return ArrayImages(images, targets, self.spec.name, numbered_items(len(targets), identity)), None

    def images(self, files: Sequence[Path], count: int) -> npt.NDArray[Any]:
        """The prepared images ``(N, C, S, S)``."""
        folder = files[0].parent
        key = file_sample_hash(folder, [f"{VERSION}/{self.image_size}", *(path.name for path in files)])[:16]
        shape = (count, *self.spec.image_shape)
        title = f"{self.spec.name}-{self.image_size}"
        return prepared_array(title, key, shape, np.uint8, lambda: self.pieces(files), self.cache_dir)

    @property
    def _folder(self) -> Path:
        return self.root.parent if self.root.suffix else self.root

    def _fetch(self, folder: Path) -> None:
        from torchvision.datasets.utils import download_url  # here, because it takes a second

        for file in self.remote:
            download_url(file.url, str(folder), file.name, file.md5)

    def _missing(self, names: Sequence[str]) -> DataError:
        """Error that says which files are missing, where from and where to."""
        what = ", ".join(names)
        return DataError(
            f"{what} {'was' if len(names) == 1 else 'were'} not found in {self._folder}; put the official "
            f"file{'' if len(names) == 1 else 's'} there (from {', '.join(file.url for file in self.remote)}) or give "
            "the folder as data.root, or set data.download=true"
        )


def grid_targets(sizes: Sequence[int]) -> Classes:
    """Classes ``(N, F)`` of all combinations, the last factor varying fastest."""
    return np.stack(np.unravel_index(np.arange(int(np.prod(sizes))), tuple(sizes)), axis=1).astype(np.int64)


def factor_classes(values: npt.NDArray[Any]) -> Classes:
    """Classes ``(N, F)`` of the values of factors ``(N, F)``: each column's different values in ascending order.

    >>> factor_classes(np.array([[0.5, 9], [0.1, 9], [0.5, 7]])).tolist()
    [[1, 1], [0, 1], [1, 0]]
    """
    columns = [np.unique(column, return_inverse=True)[1] for column in values.T]
    return np.stack(columns, axis=1).astype(np.int64)


def grid_order(classes: Classes) -> npt.NDArray[np.int64]:
    """Positions ``(N,)`` that sort classes ``(N, F)``, the last factor varying fastest."""
    return np.lexsort(classes.T[::-1]).astype(np.int64)


def resized(
    pieces: Iterable[Images], size: int, how: Callable[[Images, int], Images] | None = None
) -> Iterator[Images]:
    """Images ``(n, C, size, size)`` of images ``(n, H, W, C)`` or ``(n, H, W)``.

    Args:
        pieces: The images.
        size: Rows and columns of the result.
        how: From images ``(n, H, W, C)`` to ``(n, size, size, C)``; None takes means over squares, rounded.

    Raises:
        DataError: The images are not of so many times that size.
    """
    for piece in pieces:
        images = piece if piece.ndim == 4 else piece[..., None]
        if images.shape[1:3] != (size, size):
            images = (how or means)(images, size)
        yield np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def means(images: Images, size: int) -> Images:
    """Means over squares of pixels, rounded: ``(n, H, W, C)`` to ``(n, size, size, C)``."""
    count, height, width, channels = images.shape
    if height != width or height % size:
        raise DataError(f"images of {height}x{width} pixels cannot be brought to {size}x{size} by means over squares")
    side = height // size
    sums = images.reshape(count, size, side, size, side, channels).sum((2, 4), dtype=np.uint32)
    return ((sums + side**2 // 2) // side**2).astype(np.uint8)


def lanczos(images: Images, size: int) -> Images:
    """Images resized one by one as disentanglement_lib does it: ``(n, H, W, C)`` to ``(n, size, size, C)``."""
    pictures = (Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image) for image in images)
    small = [np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)) for picture in pictures]
    return np.stack(small).reshape(len(images), size, size, images.shape[3])
