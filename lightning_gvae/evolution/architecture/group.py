"""The processes of a search: what they tell each other, and who trains what."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

from lightning_gvae.errors import ConfigError, DesyncError, GvaeError
from lightning_gvae.process_group import rank_and_world_size

__all__ = ["SearchGroup", "longest_first"]


class SearchGroup:
    """Ranks of the training process group, with a gloo group of their own.

    Its time-out is that of the search, not that of training: a rank may wait for another's candidates for hours.
    Without a process group everything is local.

    Args:
        timeout_hours: How long ranks wait for each other, positive.

    Raises:
        ConfigError: The time-out is not positive.
    """

    def __init__(self, timeout_hours: float = 24.0) -> None:
        if not timeout_hours > 0:
            raise ConfigError(f"`timeout_hours` must be positive, got {timeout_hours!r}")
        self.rank, self.world = rank_and_world_size()
        self._group: Any = None
        if self.world > 1:
            self._group = dist.new_group(backend="gloo", timeout=datetime.timedelta(hours=timeout_hours))

    def gather(self, item: Any) -> list[Any]:
        """Values of all ranks, in their order."""
        if self._group is None:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item, group=self._group)
        return items

    def from_first(self, make: Any) -> Any:
        """Result of ``make()`` on rank 0; an error of this package there is raised everywhere."""
        answer: Any = None
        if self.rank == 0:
            try:
                answer = (make(), None)
            except (GvaeError, OSError) as error:
                answer = (None, error)
        value, problem = self.gather(answer)[0]
        if problem is not None:
            raise problem
        return value

    def agree(self, what: str, facts: Mapping[str, Sequence[object]]) -> None:
        """Check by hash that all ranks have the same.

        Args:
            what: For the message.
            facts: What must be equal, by name; compared as text, in which floats keep all their digits.

        Raises:
            DesyncError: On every rank, naming the ranks that differ from rank 0, in what, and the first difference.
        """
        digests = self.gather({name: hashlib.blake2b(repr(fact).encode()).hexdigest() for name, fact in facts.items()})
        differing = {
            rank: [name for name in facts if found[name] != digests[0][name]] for rank, found in enumerate(digests)
        }
        wrong = {rank: names for rank, names in differing.items() if names}
        if not wrong:
            return
        # Every rank has seen the same digests, so every rank comes here.
        name = next(iter(wrong.values()))[0]
        first, *others = self.gather([repr(item) for item in facts[name]])
        rank, other = next((rank, items) for rank, items in enumerate(others, 1) if rank in wrong and items != first)
        at = next(i for i in range(len(first) + 1) if first[i : i + 1] != other[i : i + 1])
        here, there = (f"{items[at]:.200}" if at < len(items) else "nothing" for items in (first, other))
        named = ", ".join(f"rank {number} ({', '.join(names)})" for number, names in wrong.items())
        raise DesyncError(
            f"{what} differs from that of rank 0 on {named}: {name}, entry {at + 1}, is {here} on rank 0 and "
            f"{there} on "
            f"rank {rank}; start all ranks with the same settings, seed and code"
        )

    def close(self) -> None:
        """Leave the group."""
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None


def longest_first(costs: Sequence[float], world: int) -> list[list[int]]:
    """Deal indices out to ``world`` ranks, the dearest first, each to the rank with the least so far.

    >>> longest_first([1.0, 5.0, 3.0, 4.0], 2)
    [[1, 0], [3, 2]]
    """
    shares: list[list[int]] = [[] for _ in range(world)]
    loads = [0.0] * world
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        rank = min(range(world), key=lambda r: (loads[r], r))
        shares[rank].append(index)
        loads[rank] += costs[index]
    return shares
