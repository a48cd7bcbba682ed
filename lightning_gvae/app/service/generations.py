"""The generations of a collapse study: images and metrics that it left, one folder a generation.

A chain of generations is a folder with ``generations/000``, ``generations/001``, ..., each with ``samples.npz`` (key
``images``, uint8 ``(N, C, H, W)``) and ``metrics.json``.
"""

import json
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.library import newest_below
from lightning_gvae.errors import DataError

__all__ = ["StoredChain", "StoredGeneration", "chains_below", "read_chain", "read_generation"]

FOLDER = "generations"
FACTS = ("generation", "seed", "train_images")  # in the file beside the scores
MOST_BYTES = 2**30  # of the images of a generation


@dataclass(frozen=True)
class StoredChain:
    """The generations of one cell of a study.

    Args:
        folder: The cell's folder.
        numbers: Generations that are there, ascending.
        metrics: Values by metric, one a generation, NaN where it was not measured.
    """

    folder: Path
    numbers: tuple[int, ...]
    metrics: dict[str, list[float]]


@dataclass(frozen=True, eq=False)
class StoredGeneration:
    """One generation.

    Args:
        number: Which.
        images: Its first samples, uint8 ``(N, C, H, W)``.
        total: Number of samples that it has.
        metrics: Values by metric.
    """

    number: int
    images: npt.NDArray[np.uint8]
    total: int
    metrics: dict[str, float]


def chains_below(root: Path) -> list[str]:
    """Folders with generations below ``root``, relative to it, newest first."""
    return [str(path.parent.relative_to(root)) for path in newest_below(root, FOLDER) if path.is_dir()]


def read_chain(folder: Path) -> StoredChain:
    """Generations of a chain and their metrics.

    Raises:
        DataError: There are none.
    """
    place = folder / FOLDER
    numbers = sorted(
        int(path.name)
        for path in (place.iterdir() if place.is_dir() else ())
        if path.name.isascii() and path.name.isdigit() and path.is_dir()
    )
    if not numbers:
        raise DataError(
            f"there are no generations in {folder.name!r}; run `python study.py study=collapse` with an image "
            "model, then "
            "name the folder of one of its cells (the one that holds `generations`)."
        )
    found = [_metrics(_place(folder, number)) for number in numbers]
    names = sorted({name for values in found for name in values})
    return StoredChain(
        folder, tuple(numbers), {name: [values.get(name, math.nan) for values in found] for name in names}
    )


def read_generation(folder: Path, number: int, count: int) -> StoredGeneration:
    """A generation with its first ``count`` samples.

    Raises:
        DataError: It is gone, or its file of samples is damaged or another one than the study writes.
    """
    place = _place(folder, number)
    path = place / "samples.npz"
    expected = "expected is a file of the collapse study, with `images` uint8 of shape (N, C, H, W); run it again"
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
        if size > MOST_BYTES:
            raise DataError(f"the samples of generation {number} have {size:,} bytes; at most {MOST_BYTES:,} are read.")
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
    except FileNotFoundError as error:
        raise DataError(f"generation {number} has no samples any more ({path.name} is gone); press Refresh.") from error
    except (
        *(OSError, ValueError, LookupError, EOFError, OverflowError, SyntaxError, RuntimeError, MemoryError),
        *(zipfile.BadZipFile, zlib.error, struct.error),
    ) as error:
        raise DataError(f"the samples of generation {number} cannot be read ({error}); {expected}.") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise DataError(f"the samples of generation {number} are {images.dtype} of {images.shape}; {expected}.")
    return StoredGeneration(number, images[:count], len(images), _metrics(place))


def _place(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:03d}"


def _metrics(place: Path) -> dict[str, float]:
    """Numbers of ``metrics.json``, nested ones under ``outer/inner``; nothing if there is no such file yet."""
    path = place / "metrics.json"
    if not path.is_file():
        return {}
    try:
        found = _numbers(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"the metrics of generation {place.name} cannot be read ({error}); run the study again."
        ) from error
    return {name: value for name, value in found.items() if name not in FACTS}


def _numbers(node: Any, prefix: str = "") -> dict[str, float]:
    if isinstance(node, dict):
        return {
            name: value for key, inner in node.items() for name, value in _numbers(inner, f"{prefix}/{key}").items()
        }
    if isinstance(node, int | float) and not isinstance(node, bool):
        return {prefix.strip("/"): float(node)}
    return {}
