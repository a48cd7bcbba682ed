"""Items that training reads from its loader, and how often: what else is measured while a run trains draws from them.

Nothing here moves the loader or a global generator: orders that are functions of (seed, epoch) are computed anew, and
samplers whose order is not are copied.
"""

import copy
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.model_copy import Noise, preserved_rng
from lightning_gvae.evolution.ranks import sum_over_ranks
from lightning_gvae.training.batches import loader_size

__all__ = ["Items", "TrainedItems", "batch_size_of"]

Counts = npt.NDArray[np.float64]
ENDLESS = 100  # passes over the data set after which a sampler without a length is taken for one that never ends


class Items(NamedTuple):
    """Positions in a data set that training reads.

    Args:
        positions: ``(M,)`` int64, distinct, ascending.
        weights: How often each is read relative to the others, ``(M,)``, summing to 1; None if all alike.
    """

    positions: npt.NDArray[np.int64]
    weights: Counts | None = None

    @classmethod
    def counted(cls, counts: npt.ArrayLike) -> "Items":
        """Items that are read so often, ``(N,)``; those that are read 0 times are left out.

        >>> Items.counted([0, 2, 2]), Items.counted([1, 3]).weights.tolist()
        (Items(positions=array([1, 2]), weights=None), [0.25, 0.75])
        """
        often = np.asarray(counts, dtype=np.float64)
        positions = np.flatnonzero(often > 0)
        found = often[positions]
        alike = not len(found) or np.ptp(found) <= 1e-12 * found[0]
        return cls(positions, None if alike else found / found.sum())

    def draw(self, count: int, stream: np.random.Generator) -> npt.NDArray[np.int64]:
        """``count`` positions: all different, and at most all there are; with weights each drawn on its own."""
        size = len(self.positions)
        if self.weights is None:
            return self.positions[stream.choice(size, size=min(count, size), replace=False)]
        return self.positions[stream.choice(size, size=count, p=self.weights)]


class TrainedItems:
    """Items of a run's training loader, the same on every rank.

    Understood are this package's loaders and others that offer ``read_counts(epoch, batches) -> (N,)``, and torch's
    ``DataLoader`` with its own samplers, with any other sampler that can be copied, or with a batch sampler. A limit
    (``limit_train_batches``, ``overfit_batches``, ``drop_last``) keeps what a fixed order leaves out away; of an order
    drawn anew every epoch, the epochs so far count if it is a function of (seed, epoch), and all items if it is not.

    Args:
        seed: Of the streams that copies of samplers draw from.
        tag: Their name.
    """

    def __init__(self, seed: int, tag: str) -> None:
        self.seed, self.tag = seed, tag
        self._loader: Any = None
        self._items: Items | None = None
        self._of_epoch: Callable[[int], npt.NDArray[Any]] | None = None
        self._counts: Counts = np.zeros(0)
        self._epochs = 0

    def now(self, trainer: L.Trainer, over: bool = False) -> Items:
        """Items that training reads, up to the end of the epoch under way, or of the last one of a fit that is over.

        Every rank must call it at the same step.

        Raises:
            ConfigError: Which items the loader yields cannot be told.
        """
        loader = trainer.train_dataloader
        if loader is not self._loader:
            self._loader, self._items, self._of_epoch = loader, None, None
            self._resolve(trainer, loader)
        if self._of_epoch is None:
            assert self._items is not None
            return self._items
        epochs = max(1, trainer.current_epoch + (not over))
        if self._items is None or epochs != self._epochs:
            start = self._epochs if epochs > self._epochs else 0
            total = self._counts if start else np.zeros(loader_size(loader))
            for epoch in range(start, epochs):
                total = total + self._of_epoch(epoch)
            self._counts, self._epochs, self._items = total, epochs, Items.counted(total)
        return self._items

    def _resolve(self, trainer: L.Trainer, loader: Any) -> None:
        """Find out what the loader's order is: the same items for ever, or counts of an epoch."""
        self._epochs = 0
        size, limit = loader_size(loader), trainer.num_training_batches
        if callable(getattr(loader, "read_counts", None)):
            if limit < len(loader) or not getattr(loader, "reshuffle", True):
                batches = int(min(limit, len(loader)))
                fixed = not getattr(loader, "reshuffle", True)
                self._of_epoch = lambda epoch: loader.read_counts(0 if fixed else epoch, batches)
            elif getattr(loader, "weights", None) is not None:
                self._items = Items.counted(loader.weights.values)
            else:
                self._items = Items(np.arange(size))
            return
        if not isinstance(loader, DataLoader):
            raise ConfigError(
                f"what `train_dataloaders` yields cannot be told of a {type(loader).__name__}, so nothing can be "
                "measured on the items that are trained on; use a torch DataLoader or a data module of this "
                "package, or "
                "give the loader a method `read_counts(epoch, batches)` that says how often each item is read"
            )
        # Of all ranks together, in an order that is cut off after so many items.
        reach = _reach(trainer, loader)
        batched: Any = loader.batch_sampler
        sampler: Any = batched.sampler if _is(batched, BatchSampler) else None
        if sampler is None:
            self._items = self._of_copy(trainer, loader, batched)
        elif _is(sampler, SequentialSampler):
            self._items = Items(np.arange(int(min(size, reach))))
        elif _is(sampler, RandomSampler):
            self._items = Items(np.arange(size))
        elif _is(sampler, SubsetRandomSampler):
            self._items = Items.counted(np.bincount(np.asarray(sampler.indices, dtype=np.int64), minlength=size))
        elif _is(sampler, WeightedRandomSampler):
            self._items = _weighted(sampler)
        elif _is(sampler, DistributedSampler) and sampler.dataset is loader.dataset:
            self._distributed(sampler, size, reach)
        else:
            self._items = self._of_copy(trainer, loader, sampler)

    def _distributed(self, sampler: Any, size: int, reach: float) -> None:
        """Resolve torch's sampler for process groups, whose order is a function of (seed, epoch)."""
        if not sampler.shuffle:
            self._items = Items(np.arange(int(min(size, sampler.total_size, reach))))
        elif reach >= size:
            self._items = Items(np.arange(size))
        else:
            whole: Any = DistributedSampler(sampler.dataset, 1, 0, shuffle=True, seed=sampler.seed)

            def of_epoch(epoch: int) -> npt.NDArray[Any]:
                whole.set_epoch(epoch)
                return np.bincount(np.fromiter(islice(whole, int(reach)), np.int64), minlength=size)

            self._of_epoch = of_epoch

    def _of_copy(self, trainer: L.Trainer, loader: Any, sampler: Any) -> Items:
        """Items of one pass of a copy of the sampler, or batch sampler, with generators of its own."""
        device = trainer.strategy.root_device
        with preserved_rng(device):
            Noise(self.seed, f"{self.tag}/sampler", 0, device).reseed()
            twin = _copy_of(loader, sampler)
            first = _pass(trainer, loader, sampler, twin)
            reach = _reach(trainer, loader) / trainer.world_size
            # A fixed order is cut off where the limit cuts it off; of another one any item may come.
            if reach < len(first) and np.array_equal(first, _pass(trainer, loader, sampler, twin)):
                first = first[: int(reach)]
        counts = np.bincount(first, minlength=loader_size(loader)).astype(np.float64)
        # Under a process group each rank's sampler yields its own part.
        return Items.counted(sum_over_ranks(counts, device))


def batch_size_of(loader: Any) -> int:
    """Items of a batch of the loader.

    Raises:
        ConfigError: It does not say.
    """
    for source in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(source, "batch_size", None)
        if size is not None:
            return int(size)
    batched = getattr(loader, "batch_sampler", None)
    if batched is not None:
        raise ConfigError(
            f"`train_dataloaders` has the batch sampler {type(batched).__name__}, which does not say how large its "
            "batches are; give it an attribute `batch_size`"
        )
    raise ConfigError(
        f"`train_dataloaders` must say how large its batches are, {type(loader).__name__} has no `batch_size`; use a "
        "DataLoader with a batch size"
    )


def _is(sampler: Any, kind: type) -> bool:
    """Whether a sampler goes through its items as torch's ``kind`` does; a subclass may have an order of its own."""
    return isinstance(sampler, kind) and type(sampler).__iter__ is kind.__iter__  # type: ignore[attr-defined]


def _reach(trainer: L.Trainer, loader: Any) -> float:
    """Items that an epoch reads at most, on all ranks together."""
    batches: float = trainer.num_training_batches
    sized = getattr(loader.batch_sampler, "sampler", loader.batch_sampler)
    if hasattr(sized, "__len__") and hasattr(loader.batch_sampler, "__len__"):
        batches = min(batches, len(loader))
    return batches * batch_size_of(loader) * trainer.world_size


def _weighted(sampler: Any) -> Items:
    weights = np.asarray(torch.as_tensor(sampler.weights), dtype=np.float64)
    if not sampler.replacement and sampler.num_samples >= (weights > 0).sum():
        return Items(np.flatnonzero(weights > 0))  # an epoch shows each of them once
    return Items.counted(weights)


def _copy_of(loader: Any, sampler: Any) -> Any:
    # The data set is not copied with it: it may be large, and it is only looked at.
    shared = (loader.dataset, getattr(sampler, "data_source", None))
    memo = {id(each): each for each in shared if each is not None}
    try:
        return copy.deepcopy(sampler, memo)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise ConfigError(
            f"the items that `train_dataloaders` yields cannot be told: its sampler {type(sampler).__name__} cannot be "
            f"copied ({error}), and the original must not be used up; use a torch SubsetRandomSampler or "
            "WeightedRandomSampler, a Subset of the data set, or a sampler that can be copied"
        ) from error


def _pass(trainer: L.Trainer, loader: Any, sampler: Any, twin: Iterable[Any]) -> npt.NDArray[np.int64]:
    """Positions of one pass of a copy of a sampler or of a batch sampler, in their order."""
    size = loader_size(loader)
    most: float = len(sampler) if hasattr(sampler, "__len__") else trainer.num_training_batches
    in_batches = sampler is loader.batch_sampler
    if not hasattr(sampler, "__len__") and not in_batches:
        most *= batch_size_of(loader)
    if most == float("inf"):
        most = ENDLESS * size + 1
    found: list[Any] = []
    for each in islice(twin, int(most)):
        found.extend(each) if in_batches else found.append(each)
        if len(found) > ENDLESS * size:
            raise ConfigError(
                f"the items that `train_dataloaders` yields cannot be told: its sampler {type(sampler).__name__} has "
                f"not ended after {ENDLESS} times the {size} items of the data set; give it a length (`__len__`), or "
                "set `trainer.limit_train_batches`"
            )
    wrong = next((each for each in found if not _is_position(each, size)), None)
    if wrong is not None or not found:
        got = repr(wrong) if found else "nothing"
        raise ConfigError(
            f"the sampler of `train_dataloaders` must yield positions 0..{size - 1} of the data set, "
            f"{type(sampler).__name__} yields {got}; use a sampler of positions"
        )
    return np.array([int(each) for each in found], dtype=np.int64)


def _is_position(value: Any, size: int) -> bool:
    if isinstance(value, torch.Tensor):
        value = value.item() if value.numel() == 1 else None
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= int(value) < size
