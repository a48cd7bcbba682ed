"""Batches of sentences of about one length, in an order that is a pure function of ``(seed, epoch)``."""

from typing import Any

import numpy as np
import torch

from lightning_gvae.datamodules.batches import Batch, BatchLoader, Indices, Split
from lightning_gvae.datamodules.identity import Items
from lightning_gvae.datamodules.text.cache import Tokens
from lightning_gvae.errors import checked_count
from lightning_gvae.rng import numpy_stream
from lightning_gvae.text import PAD

__all__ = ["BucketLoader", "Sentences", "TextSplit"]


class Sentences:
    """Sentences of a corpus, handed out as padded batches.

    Args:
        corpus: Their numbers.
    """

    def __init__(self, corpus: Tokens) -> None:
        self.tokens, self.offsets, self.statistics, self.contents = corpus
        self.lengths = np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def items(self) -> Items:
        """Hashes of all sentences."""
        return Items(self.contents)

    def batch(self, indices: Indices) -> Batch:
        """Tokens int64 ``(B, T)``, 0 behind the end, and lengths ``(B,)`` with ``<eos>``; T is the longest of them."""
        lengths = self.lengths[indices]
        steps = np.arange(lengths.max())
        there = steps < lengths[:, None]
        tokens = np.full(there.shape, PAD, dtype=np.int64)
        tokens[there] = self.tokens[(self.offsets[indices][:, None] + steps)[there]]
        return torch.from_numpy(tokens), torch.from_numpy(lengths)


class TextSplit(Split):
    """A named part of a corpus."""

    source: Sentences

    @property
    def lengths(self) -> Indices:
        """Tokens of each sentence, ``<eos>`` counted, ``(N,)``."""
        return self.source.lengths[self.indices]


class BucketLoader(BatchLoader):
    """Whole batches of sentences of about one length, so that little is padded.

    In training the epoch's permutation is cut into pools of ``pool`` global batches; each pool is sorted by length and
    cut into batches, and the batches of all pools come in random order. What a batch is does not depend on the number
    of ranks; each rank takes every w-th sentence of it, so that all have about the same work. In evaluation sentences
    come by length; each is seen once.

    Args:
        dataset: The part.
        batch_size: Sentences a batch on one rank, at least 1.
        training: Permute and drop the incomplete batch, or keep all sentences.
        seed: Seed of the order.
        reshuffle: With False every epoch repeats the order of epoch 0 (training only).
        pool: Batches that are sorted together, at least 1; 1 makes batches of any lengths.
        kwargs: ``rank`` and ``world_size``, as for :class:`~lightning_gvae.datamodules.batches.BatchLoader`.

    Raises:
        ConfigError: A number is out of range; later, as for the base class.
    """

    dataset: TextSplit
    unit = "sentences"

    def __init__(
        self,
        dataset: TextSplit,
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        reshuffle: bool = True,
        pool: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, batch_size, training=training, seed=seed, reshuffle=reshuffle, **kwargs)
        self.pool = checked_count("pool", pool, unit="batches")

    def _order(self, epoch: int) -> Indices:
        lengths = self.dataset.lengths
        if not self.training:
            return np.argsort(lengths, kind="stable")
        stream = numpy_stream(self.seed, "permutation", epoch if self.reshuffle else 0)
        size, total = self.batch_size * self.world_size, len(self)
        order = stream.permutation(len(lengths))[: total * size]
        pools = np.split(order, range(self.pool * size, len(order), self.pool * size))
        if self.pool > 1:
            pools = [part[np.argsort(lengths[part], kind="stable")] for part in pools]
        batches = np.concatenate(pools).reshape(total, self.batch_size, self.world_size)
        return batches[stream.permutation(total)].transpose(0, 2, 1).reshape(-1)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "pool": self.pool}
