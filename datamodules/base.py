"""What every data module has in common: uint8 images, seeded splits that never overlap, resumable loaders."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import lightning as L
import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.datamodules.batches import Batch, BatchLoader, ImageSource, Indices, Split, checked_count
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.rng import numpy_stream

__all__ = ["DataSpec", "ImageArrays", "ImageDataModule"]


@dataclass(frozen=True)
class DataSpec:
    """What a model or a metric must know about a data set before a file is opened.

    Args:
        name: Name of the data set.
        image_shape: ``(C, H, W)``.
        num_classes: Number of labels if the targets are labels ``(B,)``, else None.
        factor_names: Names of the factors if the targets are factor classes ``(B, F)``, else empty.
        factor_sizes: Number of classes of each factor.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int | None = None
    factor_names: tuple[str, ...] = ()
    factor_sizes: tuple[int, ...] = ()


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


class ImageDataModule(L.LightningDataModule, ABC):
    """A data set in three parts; a subclass says what it is (``spec``) and where it comes from (``load``).

    The validation part, and the test part where the data set has none of its own, are cut from one seeded
    permutation, so the parts share no index, and the same seed and sizes give the same parts.

    Under ``Trainer(overfit_batches=...)`` every epoch repeats the same batches.

    Args:
        spec: Name, image shape and targets.
        val_size: Images held out for validation, at least 1.
        test_size: Images held out for testing, at least 1; None if ``load`` returns a test set.
        batch_size: Images a training step on one rank, at least 1.
        eval_batch_size: Images a validation or test step on one rank, at least 1.
        seed: Seed of the parts and of the order of the training images.

    Raises:
        ConfigError: A size is not a positive integer, ``seed`` is negative, or (from ``setup``) the parts held out
            leave no training image.
    """

    def __init__(
        self,
        spec: DataSpec,
        val_size: int,
        test_size: int | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.val_size = checked_count("val_size", val_size)
        self.test_size = None if test_size is None else checked_count("test_size", test_size)
        self.batch_size = checked_count("batch_size", batch_size)
        self.eval_batch_size = checked_count("eval_batch_size", eval_batch_size)
        self.seed = checked_count("seed", seed, least=0)
        self._splits: dict[str, Split] = {}

    @abstractmethod
    def load(self) -> tuple[ImageSource, ImageSource | None]:
        """The images to train and validate on, and the test set (None: it is cut from the former)."""

    def setup(self, stage: str | None = None) -> None:
        """Load the data set and cut it; later calls do nothing."""
        if self._splits:
            return
        pool, test = self.load()
        sizes = [0 if test is not None else self.test_size or 0, self.val_size]
        if sum(sizes) >= len(pool):
            raise ConfigError(
                f"`val_size` {self.val_size}"
                + (f" and `test_size` {self.test_size}" if sizes[0] else "")
                + f" leave no training image of the {len(pool)} in {self.spec.name}; hold out fewer"
            )
        order = numpy_stream(self.seed, "split").permutation(len(pool))
        held_out, validation, training = np.split(order, np.cumsum(sizes))
        tested = Split(f"{self.spec.name}/test", pool, held_out)
        if test is not None:
            tested = Split(tested.name, test, np.arange(len(test)))
        self._splits = {
            "train": Split(f"{self.spec.name}/train", pool, training),
            "val": Split(f"{self.spec.name}/val", pool, validation),
            "test": tested,
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

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move images and targets directly; Lightning's walk through nested containers costs more than the rest."""
        images, targets = batch
        return images.to(device, non_blocking=True), targets.to(device, non_blocking=True)

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training part, in a new order every epoch."""
        if self.trainer is not None:
            _leave_finished_epoch(self.trainer)
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        return BatchLoader(self.train_set, self.batch_size, training=True, seed=self.seed, reshuffle=not overfit)

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation part, in the order of the part."""
        return BatchLoader(self.val_set, self.eval_batch_size, training=False, seed=self.seed)

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test part, in the order of the part."""
        return BatchLoader(self.test_set, self.eval_batch_size, training=False, seed=self.seed)

    def _split(self, name: str) -> Split:
        if not self._splits:
            raise ConfigError(
                f"`{name}_set` does not exist before `setup()` has loaded {self.spec.name}; call it first"
            )
        return self._splits[name]


def _leave_finished_epoch(trainer: L.Trainer) -> None:
    """Let a run that resumes from a checkpoint of an epoch's very end go on with the next epoch.

    Under ``max_steps`` Lightning 2.6 enters the finished epoch once more: its end hooks run twice and its count of
    epochs is one ahead from there on, so another epoch's images are shown and ``max_epochs`` stops one epoch early.
    It asks for the training loader just before it decides; told that it does not restart inside an epoch, it takes
    the path of runs without ``max_steps``, which is right.
    """
    loop = trainer.fit_loop
    if not loop.restarting:
        return
    loop.update_restart_stage()
    if loop.restarted_on_epoch_end:
        loop._restarting = False  # the public setter puts True back under `max_steps`
        loop.epoch_loop.restarting = False
