"""Images decoded once into a memory-mapped file, however often a run starts."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from tqdm import tqdm

from lightning_gvae.datamodules.decode import ON_ERROR, Decoded, Recipe, UnreadableImageError
from lightning_gvae.datamodules.image_files import ImageFiles
from lightning_gvae.errors import ConfigError, DataError, say
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_json

__all__ = ["CachedImages", "alone", "cached_images", "default_cache_dir", "settle"]

VERSION = 2  # of the layout; another one makes other keys
CHUNK = 256  # images decoded before they are written; at most so many are decoded again after a kill
MARGIN = 2**24  # bytes of the disk that stay free
PIXELS, CONTENTS, INDEX, PROGRESS = "images.u8", "contents.u64", "index.json", "progress.json"
HASH = np.dtype("<u8")


class CachedImages(NamedTuple):
    """Decoded images and where they come from.

    Args:
        images: uint8 ``(N, C, H, W)``, memory-mapped, read-only.
        kept: ``(N,)`` int64, position of each image in the names that were asked for.
        skipped: Reason by name of the files left out.
        contents: ``(N,)`` uint64, hash of the bytes of each image's file.
        notes: How many images were converted in which way, by what is to be said of them; ordinary images do not count.
    """

    images: npt.NDArray[np.uint8]
    kept: npt.NDArray[np.int64]
    skipped: dict[str, str]
    contents: npt.NDArray[np.uint64]
    notes: dict[str, int]


class _Result(NamedTuple):
    """A decoded image, with the hash of its file, or the reason why there is none."""

    image: Decoded | UnreadableImageError
    content: bytes


@dataclass
class _Progress:
    """Number of names that have been dealt with, and how."""

    done: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def written(self) -> int:
        return self.done - len(self.skipped)


def default_cache_dir() -> Path:
    """``$GVAE_CACHE_DIR``, or ``lightning-gvae`` in the user's folder of caches."""
    chosen = os.environ.get("GVAE_CACHE_DIR")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lightning-gvae"


def cached_images(
    files: ImageFiles,
    names: Sequence[str],
    recipe: Recipe,
    *,
    title: str,
    cache_dir: Path | None = None,
    on_error: str = "raise",
    workers: int | None = None,
) -> CachedImages:
    """Decode the named files, unless that has been done before, and map the result into memory.

    The cache is a folder whose name holds a hash of the files' fingerprint and of the settings. It is written beside
    and renamed when it is complete, so a reader never sees half of it; of several processes that start at once one
    writes and the others wait; what a killed process has left is gone on with by the next.

    Args:
        files: Where the files are.
        names: Which ones, in the order of the result.
        recipe: How to decode them.
        title: Name of the data set.
        cache_dir: Folder of the caches; None is :func:`default_cache_dir`.
        on_error: What to do with a file that cannot be decoded: ``"raise"``, or ``"skip"`` and count it.
        workers: Threads that decode; None is one for each processor.

    Raises:
        ConfigError: ``on_error`` is another word or ``workers`` is below 1.
        DataError: A file cannot be decoded, none is left, or the cache cannot be written.
    """
    if on_error not in ON_ERROR:
        raise ConfigError(f"`on_error` must be one of {', '.join(ON_ERROR)}, got {on_error!r}")
    threads = _processors() if workers is None else workers
    if threads < 1:
        raise ConfigError(f"`workers` must be at least 1, got {workers}")
    settings = {"version": VERSION, "on_error": on_error, **recipe.settings}
    key = text_hash(f"{files.fingerprint(names)}{json.dumps(settings)}")
    folder = (cache_dir or default_cache_dir()).expanduser() / f"{title}-{key}"
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with alone(folder):
                # Another process may have done it while this one waited.
                if not folder.is_dir():
                    _write(folder, files, names, recipe, title, on_error, threads)
        return _read(folder, recipe, len(names), title)
    except OSError as error:
        raise DataError(
            f"the cache of {title} in {folder.parent} cannot be written or read: {error.strerror or error}; make room"
            " there, or choose another folder with data.cache_dir"
        ) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock that the operating system takes back from a process that dies."""
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is preparing {folder.name}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(
    folder: Path, files: ImageFiles, names: Sequence[str], recipe: Recipe, title: str, on_error: str, threads: int
) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    size = int(np.prod(recipe.shape))
    progress = _taken_up(partial, size)
    needed, free = (len(names) - progress.done) * size, shutil.disk_usage(folder.parent).free
    if needed + MARGIN > free:
        raise DataError(
            f"the cache of {title} needs {needed / 1e6:.0f} MB in {folder.parent}, where {free / 1e6:.0f} MB are free;"
            " make room there, or choose another folder with data.cache_dir"
        )
    partial.mkdir(exist_ok=True)
    try:
        with (partial / PIXELS).open("ab") as pixels, (partial / CONTENTS).open("ab") as contents:
            pixels.truncate(progress.written * size)
            contents.truncate(progress.written * HASH.itemsize)
            for result in _decoded(files, names, recipe, title, threads, progress.done):
                _take(result, names[progress.done], files.place, on_error, progress, pixels, contents)
                if progress.done % CHUNK == 0:
                    settle(pixels)
                    settle(contents)
                    write_json(partial / PROGRESS, asdict(progress), indent=None)
            settle(pixels)
            settle(contents)
        kept = [position for position, name in enumerate(names) if name not in progress.skipped]
        if not kept:
            raise DataError(
                f"none of the {len(names)} images in {files.place} can be decoded ({_first(progress.skipped)})"
            )
        write_json(partial / INDEX, {"kept": kept, "skipped": progress.skipped, "notes": progress.notes}, indent=None)
        partial.rename(folder)
        (folder / PROGRESS).unlink(missing_ok=True)  # not before: what is killed in between would be done again
    except Exception:  # but not when this process is told to stop: the next one goes on
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _take(
    result: _Result, name: str, place: Path, on_error: str, progress: _Progress, pixels: IO[bytes], contents: IO[bytes]
) -> None:
    """Write an image, or note why there is none."""
    progress.done += 1
    if isinstance(result.image, UnreadableImageError):
        if on_error == "raise":
            raise DataError(
                f"{place / name} cannot be decoded: {result.image}; repair or remove it, or leave such files out with"
                " data.decoding.on_error=skip"
            ) from result.image
        progress.skipped[name] = str(result.image)
        return
    pixels.write(result.image.pixels.data)
    contents.write(result.content)
    for note in result.image.notes:
        progress.notes[note] = progress.notes.get(note, 0) + 1


def _taken_up(partial: Path, size: int) -> _Progress:
    """Progress of a killed process; none to begin anew."""
    try:
        stored = json.loads((partial / PROGRESS).read_text())
        progress = _Progress(int(stored["done"]), dict(stored["skipped"]), dict(stored["notes"]))
        lengths = ((partial / PIXELS).stat().st_size // size, (partial / CONTENTS).stat().st_size // HASH.itemsize)
        if min(lengths) >= progress.written:
            return progress
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(partial, ignore_errors=True)
    return _Progress()


def _decoded(
    files: ImageFiles, names: Sequence[str], recipe: Recipe, title: str, threads: int, first: int
) -> Iterator[_Result]:
    """Images from the first one on; threads suffice, because Pillow decodes and resizes outside Python's lock."""

    def decode(name: str) -> _Result:
        try:
            content = files.read(name)
            return _Result(recipe.decode(content), hashlib.blake2b(content, digest_size=HASH.itemsize).digest())
        except UnreadableImageError as error:
            return _Result(error, b"")

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(names), initial=first, desc=f"prepare {title}", unit="image", unit_scale=True) as bar,
    ):
        # Pillow warns of what is said in one sentence of all images, or refused by name.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for start in range(first, len(names), CHUNK):
            # A chunk at a time: a pool takes all its work at once, and results would pile up in memory.
            yield from pool.map(decode, names[start : start + CHUNK])
            bar.update(min(CHUNK, len(names) - start))


def _read(folder: Path, recipe: Recipe, asked: int, title: str) -> CachedImages:
    index: dict[str, Any] = json.loads((folder / INDEX).read_text())
    kept = np.array(index["kept"], dtype=np.int64)
    for file, size in ((PIXELS, int(np.prod(recipe.shape))), (CONTENTS, HASH.itemsize)):
        expected, found = len(kept) * size, (folder / file).stat().st_size
        if found != expected:
            raise DataError(f"{folder / file} must be {expected} bytes long, found {found}; delete {folder}")
    if index["skipped"]:
        say(f"{title}: {len(index['skipped'])} of {asked} images are left out ({_first(index['skipped'])})")
    for note, count in sorted(index["notes"].items()):
        say(f"{title}: {count} of {len(kept)} images {note}")
    images = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r", shape=(len(kept), *recipe.shape))
    contents = np.fromfile(folder / CONTENTS, dtype=HASH).astype(np.uint64)
    return CachedImages(images, kept, index["skipped"], contents, index["notes"])


def settle(file: IO[Any]) -> None:
    """Bring a file to the disk, so that not even a power cut leaves a complete-looking cache with a hole."""
    file.flush()
    os.fsync(file.fileno())


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first(skipped: dict[str, str]) -> str:
    name, reason = next(iter(skipped.items()))
    return f"first: {name}, {reason}"
