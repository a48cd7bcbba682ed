"""CelebA in its official files, decoded once and cached."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import ImageSource, Indices
from lightning_gvae.datamodules.cache import CachedImages, cached_images
from lightning_gvae.datamodules.decode import DecodingSettings, Recipe
from lightning_gvae.datamodules.download import download
from lightning_gvae.datamodules.identity import Items
from lightning_gvae.datamodules.image_files import FolderFiles, ZipFiles
from lightning_gvae.datamodules.parts import Hashes, Rule, Size, cut_by_hash, keyed, text_hashes
from lightning_gvae.errors import ConfigError, DataError, say
from lightning_gvae.io.settings import as_settings
from lightning_gvae.renames import takes_former_names

__all__ = ["FILES", "CelebADataModule"]

IMAGES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
# kind of target -> file, and whether it starts with a count and the names of the columns
TABLES = {
    "attributes": ("list_attr_celeba.txt", True),
    "identity": ("identity_CelebA.txt", False),
    "landmarks": ("list_landmarks_align_celeba.txt", True),
}
FILES = (f"{IMAGES}.zip", PARTITION, *(file for file, _ in TABLES.values()))
TENTH = 0.1
PARTS = ("train", "val", "test")  # 0, 1 and 2 in the partition file


@takes_former_names("lightning_gvae.datamodules.celeba.CelebADataModule")
class CelebADataModule(ImageDataModule):
    """Faces of celebrities, aligned, 178x218 pixels, and any set in the same layout, of any size.

    ``root``, or its folder ``celeba`` (where torchvision puts it), holds the folder ``img_align_celeba`` or the archive
    ``img_align_celeba.zip``, which is read in place, ``list_eval_partition.txt``, and the table of the targets. All
    counts come from these files. At the first start the images are decoded in parallel into a memory-mapped cache; see
    :func:`~lightning_gvae.datamodules.cache.cached_images`.

    Args:
        root: Folder of the files.
        image_size: Rows and columns of the result, in pixels.
        crop: Square cut from the centre before resizing; 148 is the custom.
        targets: ``"attributes"``: 40 factors of two classes, 1 if the attribute is there; ``"identity"``: number of the
            person; ``"landmarks"``: ``(B, 10)`` x and y of eyes, nose and corners of the mouth, in pixels of the
            original; ``"none"``: all 0.
        partition: ``"official"``, or ``"random"``: by a hash of an image's name, keyed by ``split_seed``, see
            :func:`~lightning_gvae.datamodules.parts.cut_by_hash`. A part of which the official list has no image, as
            for the first images of CelebA, is cut from the official training part in the same way, and that is said.
        val_size: Images held out for validation, a share or a count; for the random partition, and for an official
            validation part without images. None is a tenth.
        test_size: As ``val_size``, for testing.
        decoding: Unusual pixels, damaged files (``on_error``: those that are missing, too) and threads; may be given as
            a mapping.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        download: Fetch what is missing from the authors' host, by torchvision, which needs the package ``gdown``.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: A setting is not one of the above.
        DataError: From ``setup``: a file is missing or damaged, or files contradict each other.

    References:
        Liu, Luo, Wang, Tang, Deep learning face attributes in the wild, 2015.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int = 64,
        crop: int | None = 148,
        targets: str = "attributes",
        partition: str = "official",
        val_size: Size | None = None,
        test_size: Size | None = None,
        decoding: DecodingSettings | Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        download: bool = False,
        **options: Unpack[LoaderOptions],
    ) -> None:
        self.decoding = as_settings(DecodingSettings, decoding, "decoding")
        self.recipe = Recipe.of(image_size, 3, crop, decoding=self.decoding)
        val, test = (TENTH if size is None else size for size in (val_size, test_size))
        super().__init__(DataSpec("celeba", self.recipe.shape), val, test, **options)
        if targets not in (*TABLES, "none"):
            raise ConfigError(f"`targets` must be one of {', '.join(TABLES)}, none, got {targets!r}")
        if partition not in ("official", "random"):
            raise ConfigError(f"`partition` must be official or random, got {partition!r}")
        self._sizes_given = val_size is not None or test_size is not None
        self.root = Path(root).expanduser()
        self.targets, self.partition, self.download = targets, partition, download
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._part_of: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._names: list[str] = []  # of the images that were decoded
        self._hashes: Hashes = np.empty(0, np.uint64)  # of the names
        self._prepared: tuple[list[str], npt.NDArray[np.int64], CachedImages] | None = None

    def prepare_data(self) -> None:
        """Fetch the files if asked to, and decode the images into the cache; once a machine."""
        if self.download and not self._is_complete():
            place = self.root / "celeba"
            download(lambda: _fetch(place), "CelebA", FILES, place)
        self._cached()

    def load(self) -> tuple[ImageArrays, None]:
        """All images; those of the parts are told apart by ``parts``."""
        names, part_of, cached = self._cached()
        self._part_of = part_of[cached.kept]
        self._names = [names[position] for position in cached.kept]
        self._hashes = text_hashes(self._names)
        items = Items(cached.contents, self._hashes)
        return ImageArrays(cached.images, self._targets(self._names), items), None

    def setup(self, stage: str | None = None) -> None:
        """Load and cut the images, and say which parts have some in common."""
        fresh = not self._splits
        super().setup(stage)
        if fresh:
            self.identity.repeated(self.part_items())

    @property
    def rule(self) -> Rule:
        """Rule that decides in which part an image is."""
        kind = "files" if self.partition == "official" else "permutation" if self.permuted else "names"
        return Rule(kind, self.split_seed)

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """The official parts, as far as there are any, or parts by the names."""
        hashes = keyed(self._hashes, self.split_seed)
        what = f"{self.spec.name} ({self.root})"
        if self.partition == "random" and self.permuted:
            return super().parts(pool, test)
        if self.partition == "random":
            cut = cut_by_hash(hashes, self.val_size, self.test_size, what)
            return {part: (pool, indices) for part, indices in cut.items()}
        parts = {part: np.flatnonzero(self._part_of == number) for number, part in enumerate(PARTS)}
        empty = [part for part in PARTS if not len(parts[part])]
        if "train" in empty:
            raise DataError(
                f"{self._folder() / PARTITION} leaves no image to train on; data.partition=random cuts the parts itself"
            )
        if self._sizes_given and not empty:
            raise ConfigError(
                f"`val_size` and `test_size` are those of data.partition=random; {PARTITION} has parts of its "
                "own. Leave"
                " them out, or set data.partition=random"
            )
        if empty:
            training = parts["train"]
            sizes = (self.val_size if "val" in empty else None, self.test_size if "test" in empty else None)
            cut = cut_by_hash(hashes[training], *sizes, f"the training part of {what}")
            parts |= {part: training[cut[part]] for part in ("train", *empty)}
            said = " and ".join(f"{len(parts[part])} for {part}" for part in empty)
            say(
                f"{self.spec.name}: {PARTITION} leaves no image for {' and '.join(empty)}; of its "
                f"{len(training)} training"
                f" images {said} are held out by their names"
            )
        return {part: (pool, indices) for part, indices in parts.items()}

    def _folder(self) -> Path:
        """Folder of the files."""
        places = (self.root, self.root / "celeba")
        found = next((place for place in places if (place / PARTITION).is_file()), None)
        if found is None:
            raise DataError(
                f"{PARTITION} was not found in {self.root} or its folder celeba; put {', '.join(FILES)} there (the"
                " archive may be unpacked), or set data.download=true"
            )
        return found

    def _is_complete(self) -> bool:
        for place in (self.root, self.root / "celeba"):
            images = (place / IMAGES).is_dir() or (place / f"{IMAGES}.zip").is_file()
            if images and all((place / file).is_file() for file in FILES[1:]):
                return True
        return False

    def _cached(self) -> tuple[list[str], npt.NDArray[np.int64], CachedImages]:
        """Names and parts of all images that the partition file lists and that are there, and the decoded ones."""
        if self._prepared is None:
            self._prepared = self._decode()
        return self._prepared

    def _decode(self) -> tuple[list[str], npt.NDArray[np.int64], CachedImages]:
        folder = self._folder()
        files, prefix = _images(folder)
        listed = _table(folder / PARTITION, header=False)
        part_of = listed.values[:, 0]
        if (wrong := np.flatnonzero(~np.isin(part_of, range(len(PARTS))))).size:
            raise DataError(
                f"{folder / PARTITION} must give 0, 1 or 2 for {listed.names[wrong[0]]}, found {part_of[wrong[0]]}"
            )
        present = set(files.names())
        there = np.array([prefix + name in present for name in listed.names])
        if not there.all():
            first = listed.names[int(np.argmin(there))]
            lacking = (
                f"{int((~there).sum())} of {len(there)} images that {PARTITION} lists are missing in {files.place}"
            )
            if self.decoding.on_error == "raise" or not there.any():
                raise DataError(
                    f"{lacking} (first: {first}); complete them, or leave them out with data.decoding.on_error=skip"
                )
            say(f"celeba: {lacking} (first: {first})")
        names = [name for name, here in zip(listed.names, there, strict=True) if here]
        cached = cached_images(
            files,
            [prefix + name for name in names],
            self.recipe,
            title="celeba",
            cache_dir=self.cache_dir,
            on_error=self.decoding.on_error,
            workers=self.decoding.workers,
        )
        return names, part_of[there], cached

    def _targets(self, names: list[str]) -> npt.NDArray[np.int64]:
        if self.targets == "none":
            return np.zeros(len(names), np.int64)
        file, header = TABLES[self.targets]
        path = self._folder() / file
        columns, listed, values = _table(path, header)
        row_of = {name: row for row, name in enumerate(listed)}
        if missing := [name for name in names if name not in row_of]:
            raise DataError(
                f"{path} has no row for {missing[0]} and {len(missing) - 1} others; complete it, or set"
                " data.targets=none"
            )
        table = values[[row_of[name] for name in names]]
        if self.targets == "identity":
            self.spec = replace(self.spec, num_classes=int(table.max()) + 1)
            return table[:, 0]
        if self.targets == "attributes":
            if not np.isin(table, (-1, 1)).all():
                raise DataError(f"{path} must hold -1 and 1, found {sorted(set(table.ravel().tolist()) - {-1, 1})[:5]}")
            self.spec = replace(self.spec, factor_names=tuple(columns), factor_sizes=(2,) * len(columns))
            return (table + 1) // 2
        return table


def _images(folder: Path) -> tuple[FolderFiles | ZipFiles, str]:
    """The files, and what stands before the names of the partition file in theirs."""
    if (folder / IMAGES).is_dir():
        return FolderFiles(folder / IMAGES), ""
    archive = folder / f"{IMAGES}.zip"
    if not archive.is_file():
        raise DataError(
            f"neither {IMAGES} nor {archive.name} was found in {folder}; put one of them there, or set"
            " data.download=true"
        )
    files = ZipFiles(archive)
    inside = any(name.startswith(f"{IMAGES}/") for name in files.names())
    return files, f"{IMAGES}/" if inside else ""


def _fetch(place: Path) -> None:
    """Fetch what is missing or has another checksum; the archive stays packed."""
    from torchvision.datasets import CelebA
    from torchvision.datasets.utils import download_file_from_google_drive

    for address, checksum, file in CelebA.file_list:
        download_file_from_google_drive(address, place, file, checksum)


class _Table(NamedTuple):
    """Names of the columns and of the rows, and integers ``(N, columns)``."""

    columns: list[str]
    names: list[str]
    values: npt.NDArray[np.int64]


def _table(path: Path, header: bool) -> _Table:
    """One of the official text files.

    Raises:
        DataError: The file is missing, its count is wrong, a row is not a name and as many integers as the others, or
            two rows have one name.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    count, columns = len(lines), []
    if header:
        if len(lines) < 2 or not lines[0].strip().isdigit():
            raise DataError(f"{path} must start with a line that counts its rows and one that names its columns")
        count, columns, lines = int(lines[0]), lines[1].split(), lines[2:]
    if not lines or len(lines) != count:
        raise DataError(f"{path} must have {count or 'some'} rows, found {len(lines)}; it is cut off or damaged")
    names, rests = zip(*((*line.split(None, 1), "")[:2] for line in lines), strict=True)
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{path} must have one row an image, found {twice} more than once")
    try:
        values = (
            np.loadtxt(rests, dtype=np.int64, comments=None, ndmin=2)
            if all(rests)
            else np.empty((len(names), 0), np.int64)
        )
    except ValueError as error:
        raise DataError(f"the rows of {path} must be a name and integers, equally many each: {error}") from error
    if not values.shape[1] or (columns and len(columns) != values.shape[1]):
        raise DataError(f"{path} must have {len(columns) or 'some'} columns after the name, found {values.shape[1]}")
    return _Table(columns, list(names), values)
