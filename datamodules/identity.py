"""Record of the data that a checkpoint was trained on, and its differences from those at hand."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.datamodules.batches import Indices
from lightning_gvae.datamodules.parts import Hashes, Rule
from lightning_gvae.errors import CheckpointError

__all__ = ["Comparison", "DataRecord", "Items", "content_hashes", "stored_record"]

KEY = "parts"  # in the state of a data module
FACTOR = np.uint64(0x9E3779B97F4A7C15)
MOST = 2**20  # hashes of trained items in a checkpoint, 8 MiB


@dataclass(frozen=True)
class Items:
    """Marks that tell the items of a set apart.

    Args:
        contents: ``(N,)`` hash of each item's content.
        names: ``(N,)`` hash of each item's name; None if items have no names.
    """

    contents: Hashes
    names: Hashes | None = None

    def at(self, indices: Indices) -> "Items":
        """The items at ``indices``."""
        return Items(self.contents[indices], None if self.names is None else self.names[indices])

    @property
    def digest(self) -> str:
        """Hash of all names and contents, whatever their order."""
        # An odd factor, so that exchanging the contents of two items makes a difference.
        items = self.contents if self.names is None else self.contents * FACTOR + self.names
        return hashlib.blake2b(np.sort(items).tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Comparison:
    """Differences of the data at hand from those of a checkpoint.

    Args:
        changed: Names of the parts that differ.
        same_data: Whether at least half of what was trained on is there: the same data, if changed, and not others.
        trained_on: How many items of the parts ``val`` and ``test`` had been trained on.
        added: Training items that had not been trained on.
        gone: Items that had been trained on and are in no part.
        estimated: Whether the last three are estimates, from a sample of a large set.
    """

    changed: tuple[str, ...]
    same_data: bool
    trained_on: Mapping[str, int]
    added: int
    gone: int
    estimated: bool


@dataclass(frozen=True)
class DataRecord:
    """Record that a checkpoint keeps of the data.

    Args:
        name: Of the data set.
        sizes: Number of items of each part.
        digests: Hash of names and contents of each part.
        trained: Hashes of the contents of all items that were trained on, also by a run that this one continues; of
            very many a sample, those that ``every`` divides.
        rule: What decided in which part an item is.
        every: Which hashes are kept.
        leaked: Items of the parts ``val`` and ``test`` that a run has trained on before its data changed and it was
            told to go on.
    """

    name: str
    sizes: Mapping[str, int]
    digests: Mapping[str, str]
    trained: Hashes
    rule: Rule
    every: int = 1
    leaked: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, parts: Mapping[str, Items], rule: Rule, before: "DataRecord | None" = None) -> Self:
        """Record of parts, the training part among them, trained on after those of ``before``."""
        earlier = np.empty(0, np.uint64) if before is None else before.trained
        contents = np.unique(np.concatenate([parts["train"].contents, earlier]))
        every = max(1 if before is None else before.every, -(-len(contents) // MOST))
        if before is not None and every % before.every:
            every = before.every * -(-every // before.every)  # what the earlier record left out cannot be had back
        return cls(
            name,
            {part: len(items.contents) for part, items in parts.items()},
            {part: items.digest for part, items in parts.items()},
            _sampled(contents, every),
            rule,
            every,
            {} if before is None else dict(before.leaked),
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`state`.

        Raises:
            CheckpointError: The state is not of this form.
        """
        try:
            trained = state["trained"].numpy().view(np.uint64)
            sizes, digests, leaked = (dict(state[name]) for name in ("sizes", "digests", "leaked"))
            rule = Rule(str(state["rule"][0]), int(state["rule"][1]))
            return cls(str(state["name"]), sizes, digests, trained, rule, int(state["every"]), leaked)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's record of its data is damaged ({error!r})") from error

    def state(self) -> dict[str, Any]:
        """Plain containers and a tensor."""
        return {
            "name": self.name,
            "sizes": dict(self.sizes),
            "digests": dict(self.digests),
            "trained": torch.from_numpy(self.trained.view(np.int64)),
            "rule": list(self.rule),
            "every": self.every,
            "leaked": dict(self.leaked),
        }

    def compare(self, parts: Mapping[str, Items]) -> Comparison:
        """Differences of the parts at hand from the recorded ones."""
        here = {part: items.digest for part, items in parts.items()}
        changed = tuple(
            part for part in dict.fromkeys([*self.digests, *here]) if self.digests.get(part) != here.get(part)
        )
        held = {part: _sampled(items.contents, self.every) for part, items in parts.items()}
        every_item = np.concatenate(list(held.values())) if held else np.empty(0, np.uint64)
        gone = int(np.isin(self.trained, every_item, invert=True).sum())
        added = int(np.isin(held["train"], self.trained, invert=True).sum()) if "train" in held else 0
        trained_on: dict[str, int] = {
            part: int(np.isin(held[part], self.trained).sum()) * self.every for part in ("val", "test") if part in held
        }
        same = 2 * gone <= len(self.trained)
        return Comparison(changed, same, trained_on, added * self.every, gone * self.every, self.every > 1)


def content_hashes(items: Iterable[npt.NDArray[Any]]) -> Hashes:
    """Hash of each array's bytes, ``(N,)``."""
    digests = (hashlib.blake2b(np.ascontiguousarray(item).tobytes(), digest_size=8).digest() for item in items)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def stored_record(checkpoint: Mapping[str, Any]) -> DataRecord | None:
    """The record in a checkpoint, whatever the class of its data module; None if it has none."""
    states = (state[KEY] for state in checkpoint.values() if isinstance(state, dict) and KEY in state)
    state = next(states, None)
    return None if not isinstance(state, dict) else DataRecord.from_state(state)


def _sampled(contents: Hashes, every: int) -> Hashes:
    return contents if every == 1 else contents[contents % np.uint64(every) == 0]
