"""Batches in an order that is a pure function of ``(seed, epoch)``, so that an interrupted run can be continued."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.datamodules.staging import made_ahead, pack
from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.process_group import rank_and_world_size
from lightning_gvae.rng import numpy_stream, stream_key

__all__ = ["Batch", "BatchLoader", "ImageSource", "Indices", "KeyedBatch", "SampleWeights", "Split"]

OF_THE_IMAGES = ("dataset", "samples", "seed", "weights")  # what may differ once other images are accepted

Batch = tuple[Tensor, Tensor]
KeyedBatch = tuple[Tensor, Tensor, int]  # with the key of the batch's own random stream
Indices = npt.NDArray[np.int64]


class ImageSource(Protocol):
    """A whole data set that hands out any batch of images at once."""

    def __len__(self) -> int: ...

    def batch(self, indices: Indices) -> Batch:
        """Images uint8 ``(B, C, H, W)`` and targets int64 at ``indices`` ``(B,)``."""
        ...


@dataclass(frozen=True)
class Split:
    """A named part of a data set.

    Args:
        name: Data set and part, for example ``"mnist/train"``; a loader's saved state carries it.
        source: The whole data set.
        indices: ``(N,)`` int64, which images of ``source`` belong to the part, in the order of the part.
    """

    name: str
    source: ImageSource
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: Indices | Sequence[int]) -> Batch:
        """Images uint8 ``(B, C, H, W)`` and targets int64 at ``positions`` ``(B,)`` of this part, in one fetch."""
        return self.source.batch(self.indices[np.asarray(positions, dtype=np.int64)])


class SampleWeights(NamedTuple):
    """Frequencies with which the images of a split are shown, relative to one another.

    Args:
        values: ``(N,)``, 0 or more, summing to 1.
        name: What a loader's saved state calls them.
    """

    values: npt.NDArray[np.float64]
    name: str


class BatchLoader:
    """Iterates over a split in whole batches; a stand-in for a PyTorch ``DataLoader`` in Lightning's loops.

    Training visits a fresh permutation every epoch, drawn from the stream ``(seed, "permutation", epoch)``. A global
    batch of ``batch_size * world_size`` images is cut into one slice a rank, and a last incomplete one is dropped.
    With ``weights`` an epoch is as long, but image i is in it ``N p_i`` times, rounded up or down by a draw from the
    stream ``(seed, "weighted", epoch)`` (systematic resampling, which varies less than independent draws); equal
    weights show each image once. Evaluation keeps the order of the split: rank ``r`` of ``w`` sees positions ``r, r +
    w, r + 2w, ...``, so every image is seen exactly once, and all ranks make the same number of batches.

    The epoch is read at the first ``next``, because Lightning calls ``iter`` before it announces the epoch, and the
    process group at ``len`` and ``iter``, because a data module may be built before the group.

    For an accelerator a thread makes each batch while the one before is trained on, and packs it into pinned memory,
    from where one copy brings it over. What is handed out, and in which order, is the same.

    ``state_dict`` says how many batches of which epoch were handed out; after ``load_state_dict`` the next pass over
    that epoch goes on with the batch that follows. The state is the same on all ranks.

    Args:
        dataset: The split.
        batch_size: Images a batch on one rank, at least 1.
        training: Permute and drop the incomplete batch, or keep order and all images.
        seed: Seed of the permutations.
        reshuffle: With False every epoch repeats the order of epoch 0 (training only).
        weights: How often each image is shown (training only); None shows each once an epoch.
        changed: Whether a loaded state may be of other images, to go on with the same epoch at the same batch; its
            images then are not those of an uninterrupted run.
        device: Accelerator that batches are handed out on; None hands them out where the split has them.
        keyed: Add to every batch the key of a random stream of its own, ``(seed, "augment", epoch, number, rank)``.
        rank: Rank of this process; None asks the process group.
        world_size: Number of processes; None asks the process group.

    Raises:
        ConfigError: ``batch_size`` is not a positive integer, or there are not as many weights as images. From ``len``
            and ``iter``: the training split is smaller than one global batch, or the evaluation split cannot give every
            rank the same number of batches.
        CheckpointError: From ``load_state_dict``: the state is malformed or of another loader.
    """

    unit = "images"

    def __init__(
        self,
        dataset: Split,
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        reshuffle: bool = True,
        keyed: bool = False,
        weights: SampleWeights | None = None,
        changed: bool = False,
        device: torch.device | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.batch_size = checked_count("batch_size", batch_size)
        self.training = training
        self.seed = seed
        self.reshuffle = reshuffle
        self.keyed = keyed
        self.changed = changed
        if weights is not None and len(weights.values) != len(dataset):
            raise ConfigError(
                f"`weights` must be as many as the {len(dataset)} images of {dataset.name}, got {len(weights.values)}"
            )
        self.weights = weights
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._yielded = 0
        self._resuming = False

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return rank_and_world_size()[0] if self._rank is None else self._rank

    @property
    def world_size(self) -> int:
        """Number of processes that share the split."""
        return rank_and_world_size()[1] if self._world_size is None else self._world_size

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Stand-in in which Lightning looks for ``set_epoch``; with a ``sampler`` it would rebuild this loader."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is; another epoch than the loaded state's starts at its first batch."""
        if epoch != self._epoch:
            self._epoch, self._yielded, self._resuming = epoch, 0, False

    def __len__(self) -> int:
        """Batches a pass on this rank."""
        size, images, world = self.batch_size * self.world_size, len(self.dataset), self.world_size
        if self.training:
            if images < size:
                raise ConfigError(
                    f"`batch_size` {self.batch_size} on {world} process(es) needs {size} {self.unit} a step, but"
                    f" {self.dataset.name} has {images}; lower `batch_size` or enlarge the split"
                )
            return images // size
        if images < world or (self.batch_size == 1 and images % world):
            raise ConfigError(
                f"{self.dataset.name} has {images} {self.unit}, which {world} processes cannot evaluate in the "
                "same number"
                f" of batches of `batch_size` {self.batch_size}; use fewer processes, more {self.unit} or a "
                "larger batch"
            )
        return (images + size - 1) // size

    def __iter__(self) -> Iterator[Batch | KeyedBatch]:
        return self._batches(len(self), self.rank, self.world_size)

    def _batches(self, total: int, rank: int, world_size: int) -> Iterator[Batch | KeyedBatch]:
        order = self._order(self._epoch)
        start, self._resuming = self._yielded if self._resuming else 0, False
        numbers = range(start, total)
        for number, batch in zip(numbers, self._made(numbers, order, total, rank, world_size), strict=True):
            # Counted before the batch is out: while it is trained on and a checkpoint is written, it has been seen. One
            # that cannot be read has not.
            self._yielded = number + 1
            yield (*batch, stream_key(self.seed, "augment", self._epoch, number, rank)) if self.keyed else batch

    def _made(self, numbers: range, order: Indices, total: int, rank: int, world_size: int) -> Iterator[Batch]:
        device = self.device
        chosen = (self._slice(order, number, total, rank, world_size) for number in numbers)
        if device is None:
            yield from map(self.dataset.batch, chosen)
            return
        for packed in made_ahead(pack(self.dataset.batch(positions), device) for positions in chosen):
            images, targets = packed.on(device)
            yield images, targets

    def read_counts(self, epoch: int, batches: int) -> Indices:
        """Times that the first ``batches`` batches of an epoch read each image, on all ranks together: ``(N,)``.

        A pure function: the loader's place in its own epoch is neither read nor moved.
        """
        ranks, total = self.world_size, len(self)
        order = self._order(epoch)
        read = [
            self._slice(order, number, total, rank, ranks)
            for number in range(min(batches, total))
            for rank in range(ranks)
        ]
        return np.bincount(np.concatenate(read), minlength=len(self.dataset))

    def _order(self, epoch: int) -> Indices:
        if not self.training:
            return np.arange(len(self.dataset))
        epoch = epoch if self.reshuffle else 0
        if self.weights is not None:
            return _resampled(self.weights.values, numpy_stream(self.seed, "weighted", epoch))
        return numpy_stream(self.seed, "permutation", epoch).permutation(len(self.dataset))

    def _slice(self, order: Indices, number: int, total: int, rank: int, world_size: int) -> Indices:
        if self.training:
            start = (number * world_size + rank) * self.batch_size
            return order[start : start + self.batch_size]
        mine = order[rank::world_size]
        # Ranks must make equally many batches, or collectives hang: a rank one image short leaves one for the last.
        first, end = (min(n * self.batch_size, len(mine) - (total - n)) for n in (number, number + 1))
        return mine[first:end]

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch, and the identity that a loader must have to go on from there."""
        return {"epoch": self._epoch, "batches": self._yielded, **self._identity()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the batch that ``state_dict`` ends with; after an epoch's last batch comes the next epoch."""
        identity = self._identity()
        if missing := {"epoch", "batches", *identity} - {"weights"} - state_dict.keys():
            raise CheckpointError(
                f"the data loader's state lacks {', '.join(sorted(missing))}; it is of another version"
            )
        # What was written before there were weights has none.
        stored = {"weights": None, **state_dict}
        for name, here in {"weights": None, **identity}.items():
            if self.changed and name in OF_THE_IMAGES:
                continue
            if stored[name] != here:
                raise CheckpointError(
                    f"`{name}` of the checkpoint's data loader is {stored[name]!r}, here it is {here!r}, so the"
                    " epoch cannot be continued; restore that setting, or start a new run from the weights alone"
                )
        epoch, batches = state_dict["epoch"], state_dict["batches"]
        if batches >= len(self):
            epoch, batches = epoch + 1, 0
        self._epoch, self._yielded, self._resuming = epoch, batches, True

    def _identity(self) -> dict[str, Any]:
        weighted = {} if self.weights is None else {"weights": self.weights.name}
        return weighted | {
            "dataset": self.dataset.name,
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "seed": self.seed,
            "training": self.training,
            "reshuffle": self.reshuffle,
        }


def _resampled(weights: npt.NDArray[np.float64], stream: np.random.Generator) -> Indices:
    """Positions ``(N,)`` in which i stands floor or ceil of ``N p_i`` times, in random order."""
    count = len(weights)
    ends = np.cumsum(weights) * (count / weights.sum())
    drawn = np.searchsorted(ends, np.arange(count) + stream.random(), side="right").clip(max=count - 1)
    return stream.permutation(drawn)
