"""Image data sets of the library ``datasets``: local files, saved data sets, and those of the hub."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule, LoaderOptions
from lightning_gvae.datamodules.batches import ImageSource, Indices
from lightning_gvae.datamodules.cache import cached_images, default_cache_dir
from lightning_gvae.datamodules.decode import DecodingSettings, Recipe, UnreadableImageError
from lightning_gvae.datamodules.identity import Items
from lightning_gvae.datamodules.parts import Size, cut_by_permutation
from lightning_gvae.datamodules.pixels import as_image
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.content import file_sample_hash, text_hash
from lightning_gvae.io.settings import as_settings

__all__ = ["HuggingFaceDataModule", "SplitNames"]

# In a folder the first of which there are files: beside tables lie descriptions in json.
BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".csv": "csv", ".json": "json"}
KINDS = frozenset({*BUILDERS.values(), "imagefolder", "text"})  # readers of plain files; none of them unpickles
SAVED = ("dataset_dict.json", "state.json")  # in a folder written by `save_to_disk`


@dataclass(frozen=True)
class SplitNames:
    """Splits of a data set that are the parts.

    Args:
        train: To train on.
        val: To validate on; None cuts the part from ``train``.
        test: To test on; None cuts the part from ``train``.
    """

    train: str = "train"
    val: str | None = None
    test: str | None = None


class HuggingFaceDataModule(ImageDataModule):
    """Images in a column of a data set that the library ``datasets`` reads; needs the extra ``datasets``.

    At the first start the images are decoded, cropped and resized into a memory-mapped cache, by the same rules as
    :class:`~lightning_gvae.datamodules.image_folder.ImageFolderDataModule`. Local files need no network.

    Args:
        path: A file (``.parquet``, ``.arrow``, ``.json``, ``.jsonl``, ``.csv``), a folder of such files, for example a
            clone of a data set of the hub, a folder written by ``save_to_disk``, or the name of a data set on the hub.
        image_key: Column of the images: of the library's type ``Image``, encoded images as bytes, or arrays.
        label_key: Column of the labels: class labels, integers from 0, or texts; None leaves labels out.
        subset: Configuration of a data set of the hub that has several.
        splits: Which of its splits are the parts; may be given as a mapping.
        image_size: Rows and columns of the result, in pixels; one number makes squares.
        channels: 1 (grey) or 3 (RGB).
        fit: ``"crop"`` keeps the proportions, ``"stretch"`` does not.
        val_size: Images held out for validation, a count or a share, if no split is named.
        test_size: Images held out for testing, a count or a share, if no split is named.
        decoding: As for :class:`~lightning_gvae.datamodules.image_folder.ImageFolderDataModule`.
        download: Whether a data set of the hub may be fetched.
        cache_dir: Folder of the caches; None is ``$GVAE_CACHE_DIR`` or the user's folder of caches.
        name: Name of the data set.
        options: As for :class:`~lightning_gvae.datamodules.base.ImageDataModule`.

    Raises:
        ConfigError: The extra is not installed, or a setting is none of the above.
        DataError: From ``setup``: the data set cannot be found or read, lacks a split or a column, or a column is of
            another type.
    """

    def __init__(
        self,
        path: str | Path,
        image_key: str = "image",
        label_key: str | None = None,
        subset: str | None = None,
        splits: SplitNames | Mapping[str, Any] | None = None,
        image_size: int | Sequence[int] = 64,
        channels: int = 3,
        fit: str = "crop",
        val_size: Size = 0.1,
        test_size: Size = 0.1,
        decoding: DecodingSettings | Mapping[str, Any] | None = None,
        download: bool = False,
        cache_dir: str | Path | None = None,
        name: str = "huggingface",
        **options: Unpack[LoaderOptions],
    ) -> None:
        _library()
        self.decoding = as_settings(DecodingSettings, decoding, "decoding")
        self.recipe = Recipe.of(image_size, channels, None, fit, self.decoding)
        self.splits = as_settings(SplitNames, splits, "splits")
        spec = DataSpec(name, self.recipe.shape)
        super().__init__(spec, val_size, test_size if self.splits.test is None else None, **options)
        self.path, self.subset, self.download = str(path), subset, download
        self.image_key, self.label_key = image_key, label_key
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._tables: dict[str, Any] = {}
        self._validation: ImageArrays | None = None

    def prepare_data(self) -> None:
        """Fetch the data set if it is to be, and decode the images into the cache; once a machine."""
        for part, table in self._found().items():
            self._decoded(part, table)

    def load(self) -> tuple[ImageArrays, ImageArrays | None]:
        """Images of the training split, and of the test split if there is one."""
        tables = self._found()
        labels, names = self._labels(tables)
        sources = {}
        for part, table in tables.items():
            cached = self._decoded(part, table)
            sources[part] = ImageArrays(cached.images, labels[part][cached.kept], Items(cached.contents))
        if self.label_key is not None:
            count = len(names) or max(int(each.max()) for each in labels.values()) + 1
            self.spec = replace(self.spec, num_classes=count, class_names=names)
        self._validation = sources.get("val")
        return sources["train"], sources.get("test")

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """Parts by the splits, the others cut from the training split."""
        validation = self._validation
        if validation is None:
            return super().parts(pool, test)
        testing = None if test is not None else self.test_size
        cut = cut_by_permutation(len(pool), None, testing, self.split_seed, self.spec.name)
        parts = {"train": (pool, cut["train"]), "val": (validation, np.arange(len(validation)))}
        return parts | {"test": (pool, cut["test"]) if test is None else (test, np.arange(len(test)))}

    def _found(self) -> dict[str, Any]:
        """Tables of the splits."""
        if not self._tables:
            content = self._opened()
            for part, split in asdict(self.splits).items():
                if split is not None:
                    self._tables[part] = self._split_of(content, split, part)
        return self._tables

    def _split_of(self, content: Any, split: str, part: str) -> Any:
        if isinstance(content, dict):
            if split not in content:
                raise DataError(
                    f"{self.path} has no split {split!r}; it has {', '.join(map(str, content))}: set data.splits.{part}"
                )
            content = content[split]
        elif part != "train":
            raise DataError(
                f"{self.path} is one table without splits; set data.splits.{part}=null to cut it into parts"
            )
        for setting in ("image_key", "label_key"):
            column = getattr(self, setting)
            if column is not None and column not in content.column_names:
                raise DataError(
                    f"{self.path} has no column {column!r}; its columns are {', '.join(content.column_names)}: set "
                    f"data.{setting}"
                )
        if not len(content):
            raise DataError(f"the split {split} of {self.path} has no rows")
        return content

    def _opened(self) -> Any:
        """The data set, or all its splits by name."""
        library, place = _library(), Path(self.path).expanduser()
        cache = str((self.cache_dir or default_cache_dir()).expanduser() / "huggingface")
        try:
            if place.exists():
                return self._local(library, place, cache)
            if place.is_absolute() or self.path.count("/") > 1 or self.path[:1] in ".~" or place.suffix in BUILDERS:
                raise DataError(
                    f"{self.path} was not found; give a file, a folder, or the name of a data set on the hub"
                )
            if not self.download:
                raise DataError(
                    f"{self.path} is no file or folder here; if it is the name of a data set on the hub, "
                    "data.download=true fetches it"
                )
            return _built(library.load_dataset_builder(self.path, self.subset, cache_dir=cache), self.path)
        except DataError:
            raise
        # All of them on purpose: the library has errors of its own, of the hub, of Arrow and of the network.
        except Exception as error:
            reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
            there = "" if place.exists() else "; without a network, clone it elsewhere and give the folder"
            raise DataError(f"{self.path} cannot be read as a data set: {reason}{there}") from error

    def _local(self, library: Any, place: Path, cache: str) -> Any:
        if place.is_dir() and any((place / name).is_file() for name in SAVED):
            return library.load_from_disk(str(place))
        files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
        suffix = next((known for known in BUILDERS if any(path.suffix == known for path in files)), None)
        if suffix is None:
            found = "another file" if place.is_file() else "none"
            raise DataError(
                f"{place} must be or hold files of {', '.join(BUILDERS)}, found {found}; folders of images are read by "
                "data=image_folder"
            )
        where = {"data_files": str(place)} if place.is_file() else {"data_dir": str(place)}
        return _built(library.load_dataset_builder(BUILDERS[suffix], cache_dir=cache, **where), self.path)

    def _decoded(self, part: str, table: Any) -> Any:
        rows = _Rows(table, self.image_key, Path(self.path), f"{self.subset}/{getattr(self.splits, part)}")
        return cached_images(
            rows,
            rows.names(),
            self.recipe,
            title=f"{self.spec.name}-{part}",
            cache_dir=self.cache_dir,
            on_error=self.decoding.on_error,
            workers=self.decoding.workers,
        )

    def _labels(self, tables: Mapping[str, Any]) -> tuple[dict[str, npt.NDArray[np.int64]], tuple[str, ...]]:
        """Labels of each part, and the names of the classes."""
        if self.label_key is None:
            return {part: np.zeros(len(table), np.int64) for part, table in tables.items()}, ()
        found = {part: np.asarray(table.with_format(None)[self.label_key][:]) for part, table in tables.items()}
        if all(values.dtype.kind == "U" for values in found.values()):
            names = sorted({str(value) for values in found.values() for value in values})
            numbers = {part: np.searchsorted(names, values).astype(np.int64) for part, values in found.items()}
            return numbers, tuple(names)
        if any(values.dtype.kind not in "iub" or values.ndim != 1 or values.min() < 0 for values in found.values()):
            kind = tables["train"].features[self.label_key]
            raise DataError(
                f"the column {self.label_key!r} of {self.path} must hold class labels, integers from 0, or texts, "
                f"found {kind}; set data.label_key=null to leave labels out"
            )
        given = getattr(tables["train"].features[self.label_key], "names", None) or ()
        return {part: values.astype(np.int64) for part, values in found.items()}, tuple(map(str, given))


class _Rows:
    """Rows of a table as image files, for the cache."""

    def __init__(self, table: Any, key: str, place: Path, split: str) -> None:
        library = _library()
        self.place, self._key, self._split = place, key, split
        self._files = [Path(file["filename"]) for file in table.cache_files]
        self._content = f"{len(table)}/{table.features[key]}"
        table = table.select_columns([key]).with_format(None)
        if isinstance(table.features[key], library.Image):
            table = table.cast_column(key, library.Image(decode=False))
        self._table = table

    def names(self) -> list[str]:
        """Numbers of the rows."""
        return [f"row {number}" for number in range(len(self._table))]

    def others(self) -> dict[str, int]:
        """No other files."""
        return {}

    def unreadable(self) -> dict[str, str]:
        """No folders."""
        return {}

    def read(self, name: str) -> bytes:
        """Encoded image of a row.

        Raises:
            UnreadableImageError: There is none.
        """
        value = self._table[int(name.removeprefix("row "))][self._key]
        if isinstance(value, Mapping) and {"bytes", "path"} <= value.keys():
            if value["bytes"] is not None:
                return bytes(value["bytes"])
            try:
                return Path(value["path"]).read_bytes()
            except (OSError, TypeError) as error:
                raise UnreadableImageError(f"its file cannot be read ({error})") from error
        if isinstance(value, bytes):
            return value
        try:
            image = as_image(np.asarray(value, dtype=_type_of(value)), f"the column {self._key!r}")
        except (DataError, ValueError, TypeError) as error:
            raise UnreadableImageError(str(error)) from error
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        stream = io.BytesIO()
        picture.save(stream, "PNG", compress_level=0)
        return stream.getvalue()

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hash of the files that the table lies in, and of its split and column."""
        files = "/".join(file_sample_hash(path.parent, [path.name]) for path in self._files)
        return text_hash(f"{files}/{self.place}/{self._split}/{self._key}/{self._content}", 16)


def _type_of(value: Any) -> Any:
    """Bytes for whole numbers 0 to 255, of which lists of Python's numbers say nothing themselves."""
    if isinstance(value, np.ndarray):
        return value.dtype
    array = np.asarray(value)
    is_bytes = array.dtype.kind == "i" and array.size and array.min() >= 0 and array.max() <= 255
    return np.uint8 if is_bytes else array.dtype


def _built(builder: Any, path: str) -> Any:
    """All splits, if the reader of the data set is one of plain files."""
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in KINDS:
        raise DataError(
            f"{path} is read by {kind!r} of the library datasets, which may unpickle; data sets in "
            f"{', '.join(sorted(KINDS))} are read"
        )
    builder.download_and_prepare()
    return builder.as_dataset()


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "data=huggingface needs the package datasets; pip install 'lightning-gvae[datasets]'"
        ) from error
    return datasets
