"""Base of all data modules of images: uint8 images, seeded splits that never overlap, resumable loaders."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, runtime_checkable

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
from lightning_gvae.datamodules.device_images import DeviceCache, DeviceImages
from lightning_gvae.datamodules.identity import KEY, Items, content_hashes, stored_record
from lightning_gvae.datamodules.identity_check import IdentityCheck
from lightning_gvae.datamodules.imbalance import checked_shares, kept
from lightning_gvae.datamodules.parts import Rule, Size, checked_sizes, cut_by_permutation
from lightning_gvae.datamodules.staging import to_device
from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.lightning_compat import leave_finished_epoch, repeats_batches

__all__ = ["DataSpec", "IdentifiedSource", "ImageArrays", "ImageDataModule", "LoaderOptions"]


PARTS = ("train", "val", "test")


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


@runtime_checkable
class IdentifiedSource(Protocol):
    """An :class:`~lightning_gvae.datamodules.batches.ImageSource` that can tell its images from others."""

    def items(self) -> Items:
        """Hashes of all images, and of their names if they have any."""
        ...


class ImageArrays:
    """Images and targets held in memory.

    Args:
        images: uint8 ``(N, C, H, W)``.
        targets: Integers ``(N,)`` or ``(N, F)``.
        items: What tells the images apart, for images whose files were hashed; None hashes the pixels when asked.

    Raises:
        DataError: ``images`` are not uint8 with four dimensions, or there are not as many targets as images.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.integer], items: Items | None = None
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"`images` must be uint8 of shape (N, C, H, W), got {images.dtype} of {images.shape}")
        if len(images) != len(targets):
            raise DataError(f"`targets` must be as many as the {len(images)} images, got {len(targets)}")
        self.images = images
        self.targets = targets.astype(np.int64)
        self._items = items

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Indices) -> Batch:
        """Copies of the images and targets at ``indices``."""
        return torch.from_numpy(self.images[indices]), torch.from_numpy(self.targets[indices])

    def items(self) -> Items:
        """Hashes of all images, and of their names if they have any."""
        if self._items is None:
            self._items = Items(content_hashes(self.images))
        return self._items


class LoaderOptions(TypedDict, total=False):
    """Arguments that every data module passes on to :class:`ImageDataModule`, which explains them."""

    batch_size: int
    eval_batch_size: int
    seed: int
    split_seed: int | None
    device_cache: bool | None
    hflip: bool
    max_shift: int
    dequantise: bool
    weights: str | Mapping[str, Any] | None
    class_shares: Mapping[int, float] | None
    if_changed: str


class ImageDataModule(L.LightningDataModule, ABC):
    """A data set in three parts; a subclass says what it is (``spec``) and where it comes from (``load``).

    The validation part, and the test part where the data set has none of its own, are cut from one seeded
    permutation, so the parts share no index, and the same seed and sizes give the same parts. A data set that comes
    in parts of its own overrides ``parts``, and so does one whose images have names: there the name decides.

    Checkpoints carry a record of the parts. A run that goes on with other images, or with images in other parts, is
    refused, see :class:`~lightning_gvae.datamodules.identity_check.IdentityCheck`.

    Under ``Trainer(overfit_batches=...)`` every epoch repeats the same batches. Training images are augmented after
    they have reached the device, whole batches at a time.

    Args:
        spec: Name, image shape and targets.
        val_size: Images held out for validation, a count or a share such as 0.1; None if ``parts`` knows which they
            are.
        test_size: Images held out for testing, a count or a share; None if ``load`` returns a test set.
        batch_size: Images a training step on one rank, at least 1.
        eval_batch_size: Images a validation or test step on one rank, at least 1.
        seed: Seed of the order of the training images and of the augmentation.
        device_cache: Keep all images on the device, as uint8, and gather batches there; None: on an accelerator, where
            they fill at most a quarter of its free memory.
        hflip: Mirror every other training image, chosen at random.
        max_shift: Shift training images by up to so many pixels; the border is repeated.
        dequantise: Spread the 256 grey values of training images evenly over [0, 1) instead of dividing by 255.
        weights: How often each training image is shown: ``"diversity"``, settings of
            :class:`~lightning_gvae.datamodules.weights.WeightOptions` by name, the path of a file of weights, or None.
        class_shares: Share that is kept of a class, by its number, of the images to train and validate on; the test
            part stays whole unless it is cut from them.
        split_seed: Seed of the parts; None is ``seed``. Runs with different seeds but one ``split_seed`` are evaluated
            on the same images.
        if_changed: What to do if the images are not those that a checkpoint was trained on: ``"refuse"``, or
            ``"accept"`` and say it.

    Raises:
        ConfigError: A size is neither a positive integer nor a share, ``seed`` is negative, or (from ``setup``) the
            parts held out leave no training image.
        CheckpointError: The images are not those of the checkpoint.
    """

    def __init__(
        self,
        spec: DataSpec,
        val_size: Size | None,
        test_size: Size | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        seed: int = 0,
        device_cache: bool | None = None,
        hflip: bool = False,
        max_shift: int = 0,
        dequantise: bool = False,
        weights: str | Mapping[str, Any] | None = None,
        class_shares: Mapping[int, float] | None = None,
        split_seed: int | None = None,
        if_changed: str = "refuse",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.val_size, self.test_size = checked_sizes(val_size, test_size)
        self.batch_size = checked_count("batch_size", batch_size)
        self.eval_batch_size = checked_count("eval_batch_size", eval_batch_size)
        self.seed = checked_count("seed", seed, least=0)
        self.split_seed = self.seed if split_seed is None else checked_count("split_seed", split_seed, least=0)
        self._device_cache = DeviceCache(device_cache, spec.name)
        self.augmentation = Augmentation(hflip, max_shift, dequantise)
        self.weights, self.class_shares = weights, checked_shares(class_shares, spec.num_classes)
        self.identity = IdentityCheck(spec.name, "image" if len(spec.image_shape) > 1 else "point", if_changed)
        self._evaluated: Mapping[str, Any] | None = None  # checkpoint to compare with
        self._resumed: Mapping[str, Any] | None = None  # state of data of another class to go on from
        self._state: dict[str, Any] | None = None
        self.same_batches = False  # whether all ranks train on the same batches, as those of a population do
        self.permuted = False  # whether images with names are cut by a permutation, as of the last release
        self._sample_weights: SampleWeights | None = None
        self._splits: dict[str, Split] = {}

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
        if self._resumed is not None:
            self.identity.resume(self._resumed, self.part_items(), self.rule)
        if self._evaluated is not None:
            self.identity.evaluate(self._evaluated, self.part_items(), self.rule)

    def compare_with(self, checkpoint: Mapping[str, Any]) -> None:
        """Have ``setup`` compare the test part with what a checkpoint was trained on, before its model is evaluated."""
        self._evaluated = checkpoint

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Cut the images as they were cut for a checkpoint, before they are loaded.

        A checkpoint without a record was written when all images were cut by a permutation.
        """
        record = stored_record(checkpoint)
        self.permuted = record is None or record.rule.kind == "permutation"

    def resume_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Cut the images as they were cut for a run that is gone on with, and compare them once they are loaded."""
        self.restore(checkpoint)
        record = stored_record(checkpoint)
        if record is not None and type(self).__qualname__ not in checkpoint:
            self._resumed = {KEY: record.state()}  # Lightning hands a state to data of the same class alone

    @property
    def rule(self) -> Rule:
        """Rule that decides in which part an image is."""
        return Rule("permutation", self.split_seed)

    @property
    def part_sizes(self) -> dict[str, int]:
        """Number of images of the parts ``train``, ``val`` and ``test``, once they are loaded."""
        return {name: len(self._split(name)) for name in PARTS}

    def part_items(self) -> dict[str, Items]:
        """Identities of the images of each part."""
        sources = {id(split.source): split.source for split in self._splits.values()}
        known = {
            key: source.items()
            if isinstance(source, IdentifiedSource)
            else Items(np.arange(len(source), dtype=np.uint64))
            for key, source in sources.items()
        }
        return {name: known[id(split.source)].at(split.indices) for name, split in self._splits.items()}

    def state_dict(self) -> dict[str, Any]:
        """The record of the parts that checkpoints carry."""
        if self._splits and self._state is None:
            self._state = self.identity.state(self.part_items(), self.rule)
        return self._state or {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the parts with those of the run that is gone on with.

        Raises:
            CheckpointError: They differ, and ``if_changed`` does not accept that.
        """
        self.setup()
        self.identity.resume(state_dict, self.part_items(), self.rule)
        self._state = None

    def parts(self, pool: ImageSource, test: ImageSource | None) -> dict[str, tuple[ImageSource, Indices]]:
        """Images ``(source, indices)`` of the parts ``train``, ``val`` and ``test``."""
        testing = None if test is not None else self.test_size
        cut = cut_by_permutation(len(pool), self.val_size, testing, self.split_seed, self.spec.name)
        if test is None:
            return {part: (pool, indices) for part, indices in cut.items()}
        return {"train": (pool, cut["train"]), "val": (pool, cut["val"]), "test": (test, np.arange(len(test)))}

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
        """Move images and targets, unless they are there; Lightning would walk through nested containers."""
        images, targets, *key = batch
        if images.device.type == device.type:
            return batch
        return (*to_device((images, targets), device), *key)  # type: ignore[return-value]

    def on_after_batch_transfer(self, batch: Batch | KeyedBatch, dataloader_idx: int) -> Batch:
        """Augment the batches that ask for it: those of the training loader carry a random key."""
        images, targets, *key = batch
        return (self.augmentation(images, *key), targets) if key else (images, targets)

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training part, in a new order every epoch."""
        if self.trainer is not None:
            leave_finished_epoch(self.trainer)
        return self._loader(
            "train",
            self.batch_size,
            training=True,
            reshuffle=not repeats_batches(self.trainer),
            keyed=self.augmentation.active,
            weights=self._training_weights(),
            changed=self.identity.accepted,
            rank=0 if self.same_batches else None,
            world_size=1 if self.same_batches else None,
        )

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation part, in the order of the part."""
        return self._loader("val", self.eval_batch_size, training=False)

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test part, in the order of the part."""
        return self._loader("test", self.eval_batch_size, training=False)

    def _training_weights(self) -> SampleWeights | None:
        if self.weights is not None and self._sample_weights is None:
            # Here, because it imports networks that other runs do not need.
            from lightning_gvae.datamodules.weights import training_weights

            labelled = self.spec.num_classes is not None
            self._sample_weights = training_weights(self.train_set, self.val_set, labelled, self.weights, self._device)
        return self._sample_weights

    def _loader(self, name: str, batch_size: int, *, training: bool, **options: Any) -> BatchLoader:
        """Loader of a part, which lies on the device or is brought there batch by batch."""
        part, device = self._device_cache.placed(self._split(name), self._device), self._device
        fed = None if device.type == "cpu" or isinstance(part.source, DeviceImages) else device
        return BatchLoader(part, batch_size, training=training, seed=self.seed, device=fed, **options)

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _split(self, name: str) -> Split:
        if not self._splits:
            raise ConfigError(
                f"`{name}_set` does not exist before `setup()` has loaded {self.spec.name}; call it first"
            )
        return self._splits[name]
