"""Base of all data modules of images: uint8 images, seeded splits that never overlap, resumable loaders."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.datamodules.augment import Augmentation
from lightning_gvae.datamodules.batches import (
    Batch,
    BatchLoader,
    ImageSource,
    Indices,
    KeyedBatch,
    SampleWeights,
    Split,
)
from lightning_gvae.datamodules.device_images import DeviceImages
from lightning_gvae.datamodules.imbalance import checked_shares, kept
from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.lightning_compat import leave_finished_epoch
from lightning_gvae.rng import numpy_stream

__all__ = ["DataSpec", "ImageArrays", "ImageDataModule", "LoaderOptions"]


@dataclass(frozen=True)
class DataSpec:
    """Facts about a data set that a model or a metric must know before a file is opened.

    Args:
        name: Name of the data set.
        image_shape: ``(C, H, W)``; ``(D,)`` if the data are points instead of images.
        num_classes: Number of labels if the targets are labels ``(B,)``, else None.
        class_names: Names of the labels, if they have any.
        factor_names: Names of the factors if the targets are factor classes ``(B, F)``, else empty.
        factor_sizes: Number of classes of each factor.
        is_grid: Whether there is one image for every combination of factors, the last factor varying fastest, so that
            images of chosen factors can be had.
        binary: Whether a pixel is either 0 or 255; other images take any value between.

    Raises:
        ConfigError: The numbers of names and of classes or factors differ.
    """

    name: str
    image_shape: tuple[int, ...]
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    factor_sizes: tuple[int, ...] = ()
    is_grid: bool = False
    binary: bool = False

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(f"`class_names` must be {self.num_classes} names, got {len(self.class_names)}")
        if len(self.factor_names) != len(self.factor_sizes):
            raise ConfigError(
                f"`factor_names` and `factor_sizes` must be equally many, got {len(self.factor_names)} and"
                f" {len(self.factor_sizes)}"
            )


class ImageArrays:
    """Images and targets held in memory.

    Args:
        images: uint8 ``(N, C, H, W)``.
        targets: Integers ``(N,)`` or ``(N, F)``.

    Raises:
        DataError: ``images`` are not uint8 with four dimensions, or there are not as many targets as images.
    """

    def __init__(self, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.integer]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"`images` must be uint8 of shape (N, C, H, W), got {images.dtype} of {images.shape}")
        if len(images) != len(targets):
            raise DataError(f"`targets` must be as many as the {len(images)} images, got {len(targets)}")
        self.images = images
        self.targets = targets.astype(np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Indices) -> Batch:
        """Copies of the images and targets at ``indices``."""
        return torch.from_numpy(self.images[indices]), torch.from_numpy(self.targets[indices])


class LoaderOptions(TypedDict, total=False):
    """Arguments that every data module passes on to :class:`ImageDataModule`, which explains them."""

    batch_size: int
    eval_batch_size: int
    seed: int
    split_seed: int | None
    device_cache: bool
    hflip: bool
    max_shift: int
    dequantise: bool
    weights: str | Mapping[str, Any] | None
    class_shares: Mapping[int, float] | None


class ImageDataModule(L.LightningDataModule, ABC):
    """A data set in three parts; a subclass says what it is (``spec``) and where it comes from (``load``).

    The validation part, and the test part where the data set has none of its own, are cut from one seeded
    permutation, so the parts share no index, and the same seed and sizes give the same parts. A data set that comes
    in parts of its own overrides ``parts``.

    Under ``Trainer(overfit_batches=...)`` every epoch repeats the same batches. Training images are augmented after
    they have reached the device, whole batches at a time.

    Args:
        spec: Name, image shape and targets.
        val_size: Images held out for validation, at least 1; None if ``parts`` knows which they are.
        test_size: Images held out for testing, at least 1; None if ``load`` returns a test set.
        batch_size: Images a training step on one rank, at least 1.
        eval_batch_size: Images a validation or test step on one rank, at least 1.
        seed: Seed of the order of the training images and of the augmentation.
        device_cache: Keep all images on the device, as uint8, and gather batches there.
        hflip: Mirror every other training image, chosen at random.
        max_shift: Shift training images by up to so many pixels; the border is repeated.
        dequantise: Spread the 256 grey values of training images evenly over [0, 1) instead of dividing by 255.
        weights: How often each training image is shown: ``"diversity"``, settings of
            :class:`~lightning_gvae.datamodules.weights.WeightOptions` by name, the path of a file of weights, or None.
        class_shares: Share that is kept of a class, by its number, of the images to train and validate on; the test
            part stays whole unless it is cut from them.
        split_seed: Seed of the parts; None is ``seed``. Runs with different seeds but one ``split_seed`` are evaluated
            on the same images.

    Raises:
        ConfigError: A size is not a positive integer, ``seed`` is negative, or (from ``setup``) the parts held out
            leave no training image.
    """

    def __init__(
        self,
        spec: DataSpec,
        val_size: int | None,
        test_size: int | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        seed: int = 0,
        device_cache: bool = False,
        hflip: bool = False,
        max_shift: int = 0,
        dequantise: bool = False,
        weights: str | Mapping[str, Any] | None = None,
        class_shares: Mapping[int, float] | None = None,
        split_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.val_size = None if val_size is None else checked_count("val_size", val_size)
        self.test_size = None if test_size is None else checked_count("test_size", test_size)
        self.batch_size = checked_count("batch_size", batch_size)
        self.eval_batch_size = checked_count("eval_batch_size", eval_batch_size)
        self.seed = checked_count("seed", seed, least=0)
        self.split_seed = self.seed if split_seed is None else checked_count("split_seed", split_seed, least=0)
        self.device_cache = device_cache
        self.augmentation = Augmentation(hflip, max_shift, dequantise)
        self.weights, self.class_shares = weights, checked_shares(class_shares, spec.num_classes)
        self._sample_weights: SampleWeights | None = None
        self._splits: dict[str, Split] = {}
        self._on_device: dict[int, DeviceImages] = {}

    @abstractmethod
    def load(self) -> tuple[ImageSource, ImageSource | None]:
        """The images to train and validate on, and the test set (None: it is cut from the former)."""

    def setup(self, stage: str | None = None) -> None:
        """Load the data set and cut it; later calls do nothing."""
        if self._splits:
            return
        pool, test = self.load()
        parts = self.parts(pool, test)
        if self.class_shares:
            stays = kept(pool, self.class_shares)
            parts = {name: (s, i[stays[i]] if s is pool else i) for name, (s, i) in parts.items()}
        self._splits = {name: Split(f"{self.spec.name}/{name}", *part) for name, part in parts.items()}

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """Images ``(source, indices)`` of the parts ``train``, ``val`` and ``test``."""
        sizes = [0 if test is not None else self.test_size or 0, self.val_size or 0]
        if sum(sizes) >= len(pool):
            raise ConfigError(
                f"`val_size` {self.val_size}"
                + (f" and `test_size` {self.test_size}" if sizes[0] else "")
                + f" leave no training image of the {len(pool)} in {self.spec.name}; hold out fewer"
            )
        order = numpy_stream(self.split_seed, "split").permutation(len(pool))
        held_out, validation, training = np.split(order, np.cumsum(sizes))
        return {
            "train": (pool, training),
            "val": (pool, validation),
            "test": (pool, held_out) if test is None else (test, np.arange(len(test))),
        }

    @property
    def train_set(self) -> Split:
        """Images to train on."""
        return self._split("train")

    @property
    def val_set(self) -> Split:
        """Images held out for validation."""
        return self._split("val")

    @property
    def test_set(self) -> Split:
        """Images for the final test."""
        return self._split("test")

    def transfer_batch_to_device(
        self, batch: Batch | KeyedBatch, device: torch.device, dataloader_idx: int
    ) -> Batch | KeyedBatch:
        """Move images and targets directly; Lightning's walk through nested containers costs more than the rest."""
        images, targets, *key = batch
        return (images.to(device, non_blocking=True), targets.to(device, non_blocking=True), *key)  # type: ignore[return-value]

    def on_after_batch_transfer(self, batch: Batch | KeyedBatch, dataloader_idx: int) -> Batch:
        """Augment the batches that ask for it: those of the training loader carry a random key."""
        images, targets, *key = batch
        return (self.augmentation(images, *key), targets) if key else (images, targets)

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training part, in a new order every epoch."""
        if self.trainer is not None:
            leave_finished_epoch(self.trainer)
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        return BatchLoader(
            self._placed("train"),
            self.batch_size,
            training=True,
            seed=self.seed,
            reshuffle=not overfit,
            keyed=self.augmentation.active,
            weights=self._training_weights(),
        )

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation part, in the order of the part."""
        return BatchLoader(self._placed("val"), self.eval_batch_size, training=False, seed=self.seed)

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test part, in the order of the part."""
        return BatchLoader(self._placed("test"), self.eval_batch_size, training=False, seed=self.seed)

    def _training_weights(self) -> SampleWeights | None:
        if self.weights is not None and self._sample_weights is None:
            # Here, because it imports networks that other runs do not need.
            from lightning_gvae.datamodules.weights import training_weights

            device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
            labelled = self.spec.num_classes is not None
            self._sample_weights = training_weights(self.train_set, self.val_set, labelled, self.weights, device)
        return self._sample_weights

    def _placed(self, name: str) -> Split:
        """A part, on the device if it is to lie there."""
        part = self._split(name)
        if not self.device_cache:
            return part
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        cached = self._on_device.get(id(part.source))
        if cached is None or cached.device != device:
            cached = self._on_device[id(part.source)] = DeviceImages(part.source, device, self.spec.name)
        return Split(part.name, cached, part.indices)

    def _split(self, name: str) -> Split:
        if not self._splits:
            raise ConfigError(
                f"`{name}_set` does not exist before `setup()` has loaded {self.spec.name}; call it first"
            )
        return self._splits[name]
