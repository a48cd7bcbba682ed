"""Summary of a data set before training: parts, targets, pixels, and the speed of reading batches."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lightning_gvae.datamodules.base import DataSpec, ImageDataModule
from lightning_gvae.datamodules.batches import Split
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["FEW_CLASSES", "PixelCounts", "Reading", "Summary", "Target", "summarise", "time_reading"]

PARTS = ("train", "val", "test")
FEW_CLASSES = 12  # so many fit into a table, or one a row into a picture
CHUNK = 8 * 2**20  # bytes of images read at a time


@dataclass(frozen=True)
class PixelCounts:
    """Counts of the 256 grey values in each channel; all figures follow from them without rounding.

    Args:
        channels: Numbers of the values 0..255 in each channel.
    """

    channels: tuple[tuple[int, ...], ...]

    @property
    def mean(self) -> list[float]:
        """Mean of each channel, of values in [0, 1]."""
        return [first / (255 * count) for count, first, _ in self._moments()]

    @property
    def std(self) -> list[float]:
        """Standard deviation of each channel, of values in [0, 1]."""
        return [math.sqrt(count * second - first * first) / (255 * count) for count, first, second in self._moments()]

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest grey value, 0..255."""
        used = [value for value, count in enumerate(self._together()) if count]
        return used[0], used[-1]

    @property
    def grey_values(self) -> int:
        """Number of grey values, of 256, that occur."""
        return sum(count > 0 for count in self._together())

    @property
    def black(self) -> float:
        """Share of the values, over all channels, that are 0."""
        return self._together()[0] / sum(self._together())

    @property
    def white(self) -> float:
        """Share of the values, over all channels, that are 255."""
        return self._together()[255] / sum(self._together())

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 255."""
        return not any(self._together()[1:255])

    def _together(self) -> list[int]:
        return [sum(counts) for counts in zip(*self.channels, strict=True)]

    def _moments(self) -> Iterator[tuple[int, int, int]]:
        """Number, sum and sum of squares of the grey values of each channel; Python's integers do not overflow."""
        for counts in self.channels:
            yield (
                sum(counts),
                sum(value * count for value, count in enumerate(counts)),
                sum(value**2 * count for value, count in enumerate(counts)),
            )


@dataclass(frozen=True)
class Target:
    """The labels, or one of the factors.

    Args:
        name: ``"label"``, or the name of the factor.
        classes: Names of the classes.
        counts: For each part, how many images of each class it has.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]

    @property
    def ones(self) -> dict[str, float]:
        """For each part, the fraction of images of class 1."""
        return {part: counts[1] / sum(counts) for part, counts in self.counts.items()}


@dataclass(frozen=True)
class Summary:
    """Figures of a data set.

    Args:
        name: Name of the data set.
        image_shape: ``(C, H, W)``.
        sizes: Images of each part.
        pixels: Grey values of the training and validation images.
        labels: The labels, if the targets are labels.
        factors: The factors of more than two classes.
        attributes: The factors of two classes.
        numbers: Integers an image whose meaning the data set does not tell, such as positions.
    """

    name: str
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]
    pixels: PixelCounts
    labels: Target | None = None
    factors: tuple[Target, ...] = ()
    attributes: tuple[Target, ...] = ()
    numbers: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain containers."""
        pixels = self.pixels
        figures: dict[str, Any] = {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "sizes": self.sizes,
            "pixels": {
                "of": "train and val",
                "mean": pixels.mean,
                "std": pixels.std,
                "min": pixels.range[0] / 255,
                "max": pixels.range[1] / 255,
                "black": pixels.black,
                "white": pixels.white,
                "grey_values": pixels.grey_values,
                "binary": pixels.binary,
            },
        }
        if self.labels is not None:
            classes = self.labels.classes
            figures["labels"] = {
                part: dict(zip(classes, counts, strict=True)) for part, counts in self.labels.counts.items()
            }
        if self.factors:
            figures["factors"] = {factor.name: len(factor.classes) for factor in self.factors}
        if self.attributes:
            figures["attributes"] = {attribute.name: attribute.ones for attribute in self.attributes}
        if self.numbers:
            figures["numbers"] = self.numbers
        return figures

    def rows(self) -> list[tuple[str, str]]:
        """The figures as a short table of names and texts."""
        pixels, (channels, height, width) = self.pixels, self.image_shape
        colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
        low, high = pixels.range
        return [
            ("data set", self.name),
            ("images", ", ".join(f"{part} {count:,}" for part, count in self.sizes.items())),
            ("shape", f"{channels} x {height} x {width} ({colour})"),
            *self._target_rows(),
            ("pixel mean", _decimals(pixels.mean)),
            ("pixel std", _decimals(pixels.std)),
            ("pixel range", f"{low / 255:.4g} to {high / 255:.4g}, {pixels.grey_values} grey values"),
            (
                "black, white",
                f"{pixels.black:.2%}, {pixels.white:.2%}" + (": the images are binary" if pixels.binary else ""),
            ),
        ]

    def _target_rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.labels is not None:
            rows.append(("labels", _histogram(self.labels)))
        if self.factors:
            rows.append(("factors", ", ".join(f"{factor.name} {len(factor.classes)}" for factor in self.factors)))
        if self.attributes:
            fractions = ", ".join(f"{one.name}={one.ones['train']:.3f}" for one in self.attributes)
            rows.append(("attributes", f"fraction of ones in train: {fractions}"))
        if self.numbers:
            rows.append(("targets", f"{self.numbers} integers an image, without a name"))
        return rows or [("targets", "none")]


@dataclass(frozen=True)
class Reading:
    """Speed of reading training batches, without what happens to them on the device.

    Args:
        batch_size: Images a batch.
        batches: Batches read.
        seconds: Time it took.
        batches_per_epoch: Batches of a pass over the training part.
    """

    batch_size: int
    batches: int
    seconds: float
    batches_per_epoch: int

    @property
    def images_per_second(self) -> float:
        """Images read in a second."""
        return self.batches * self.batch_size / self.seconds

    @property
    def epoch_seconds(self) -> float:
        """Time that a pass over the training part takes."""
        return self.seconds * self.batches_per_epoch / self.batches

    def as_dict(self) -> dict[str, float]:
        """The figures as a plain container."""
        return {**asdict(self), "images_per_second": self.images_per_second, "epoch_seconds": self.epoch_seconds}

    def row(self) -> tuple[str, str]:
        """Name and text for a short table."""
        epoch = "less than 0.01" if self.epoch_seconds < 0.01 else f"{self.epoch_seconds:,.2f}"
        speed = f"{self.images_per_second:,.0f} images/s in batches of {self.batch_size}"
        return "reading", f"{speed}, {epoch} s an epoch"


def summarise(datamodule: ImageDataModule, chunk: int = CHUNK, progress: bool = False) -> Summary:
    """Read every image once.

    Args:
        datamodule: A data set that is set up.
        chunk: Bytes of images read at a time.
        progress: Show a progress bar, if stderr is a terminal and it takes longer than a second.

    Raises:
        ConfigError: The data are not images.
        DataError: The targets are not what the data set's ``spec`` says.
    """
    if len(datamodule.spec.image_shape) != 3:
        raise ConfigError(f"{datamodule.spec.name} has points, not images; only data sets of images can be inspected")
    parts = dict(zip(PARTS, (datamodule.train_set, datamodule.val_set, datamodule.test_set), strict=True))
    spec = datamodule.spec
    sizes = _class_counts(spec)
    pixels = np.zeros((spec.image_shape[0], 256), np.uint64)
    counts = {part: [np.zeros(size, np.int64) for size in sizes] for part in PARTS}
    numbers = 0
    step = max(1, chunk // math.prod(spec.image_shape))
    total = sum(map(len, parts.values()))
    with tqdm(total=total, desc=spec.name, unit="image", unit_scale=True, delay=1, disable=not progress or None) as bar:
        for name, part in parts.items():
            for images, targets in _chunks(part, step):
                if name != "test":
                    for channel, values in enumerate(np.moveaxis(images, 1, 0)):
                        pixels[channel] += _grey_values(values)
                if sizes:
                    _count_classes(targets, counts[name], part.name)
                elif targets.any():
                    numbers = targets.shape[1]
                bar.update(len(images))
    columns = [
        Target(name, classes, {part: tuple(counts[part][column].tolist()) for part in PARTS})
        for column, (name, classes) in enumerate(_targets(spec, sizes))
    ]
    is_labelled = spec.num_classes is not None
    return Summary(
        spec.name,
        (spec.image_shape[0], spec.image_shape[1], spec.image_shape[2]),
        {name: len(part) for name, part in parts.items()},
        PixelCounts(tuple(tuple(channel) for channel in pixels.tolist())),
        labels=columns[0] if is_labelled else None,
        factors=() if is_labelled else tuple(target for target in columns if len(target.classes) != 2),
        attributes=() if is_labelled else tuple(target for target in columns if len(target.classes) == 2),
        numbers=numbers,
    )


def time_reading(datamodule: ImageDataModule, seconds: float = 1.0) -> Reading:
    """Read training batches, pass after pass, for so many seconds.

    Raises:
        ConfigError: The training part is smaller than a batch.
    """
    loader = datamodule.train_dataloader()
    next(iter(loader))  # opens files and builds tables, which the first batch alone waits for
    passes = chain.from_iterable(repeat(loader))
    batches, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < seconds:
        next(passes)
        batches, elapsed = batches + 1, time.perf_counter() - start
    return Reading(loader.batch_size, batches, elapsed, len(loader))


def _chunks(part: Split, step: int) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Images ``(B, C, H, W)`` and targets ``(B, F)`` of a part."""
    indices = np.sort(part.indices)  # images on a disk are read fastest in their order
    for start in range(0, len(indices), step):
        images, targets = part.source.batch(indices[start : start + step])
        yield images.cpu().numpy(), targets.cpu().numpy().reshape(len(images), -1)


def _grey_values(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Counts of the grey values 0..255."""
    counts = np.zeros(256, np.uint64)
    counts[0], counts[255] = np.count_nonzero(values == 0), np.count_nonzero(values == 255)
    if counts.sum() == values.size:  # binary images, ten times as fast
        return counts
    return np.bincount(values.ravel(), minlength=256).astype(np.uint64)


def _class_counts(spec: DataSpec) -> tuple[int, ...]:
    """Number of classes of each column of the targets; empty if the data set does not tell."""
    return spec.factor_sizes if spec.num_classes is None else (spec.num_classes,)


def _targets(spec: DataSpec, sizes: tuple[int, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """Name and classes of each column of the targets."""
    names = spec.factor_names if spec.num_classes is None else ("label",)
    given = () if spec.num_classes is None else spec.class_names
    return [(name, given or tuple(map(str, range(size)))) for name, size in zip(names, sizes, strict=True)]


def _count_classes(targets: npt.NDArray[np.int64], counts: list[npt.NDArray[np.int64]], where: str) -> None:
    if targets.shape[1] != len(counts):
        raise DataError(
            f"the targets of {where} must be {len(counts)} integers an image, as `spec` says, got {targets.shape[1]}"
        )
    for column, count in zip(targets.T, counts, strict=True):
        if column.min() < 0 or column.max() >= len(count):
            raise DataError(
                f"the targets of {where} must be classes 0..{len(count) - 1}, as `spec` says, found {column.min()} to"
                f" {column.max()}"
            )
        count += np.bincount(column, minlength=len(count))


def _histogram(labels: Target) -> str:
    if len(labels.classes) > FEW_CLASSES:
        train = labels.counts["train"]
        return f"{len(labels.classes):,} classes, {min(train):,} to {max(train):,} training images each"
    width = max(map(len, labels.classes))
    lines = [
        f"{name:{width}}  {' / '.join(f'{labels.counts[part][index]:,}' for part in PARTS)}"
        for index, name in enumerate(labels.classes)
    ]
    return "\n".join([f"{len(labels.classes)} classes ({' / '.join(PARTS)})", *lines])


def _decimals(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
