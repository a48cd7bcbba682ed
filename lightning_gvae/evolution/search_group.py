"""The processes of a search: what they tell each other, and who trains what."""

import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist

from lightning_gvae.errors import ConfigError, DesyncError, GvaeError

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
        grouped = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if grouped else (0, 1)
        self._group: Any = None
        if grouped:
            self._group = dist.new_group(backend="gloo", timeout=datetime.timedelta(hours=timeout_hours))

    def gather(self, item: Any) -> list[Any]:
        """What every rank has, in the order of the ranks."""
        if self._group is None:
            return [item]
        items: list[Any] = [None] * self.world
        dist.all_gather_object(items, item, group=self._group)
        return items

    def from_first(self, make: Any) -> Any:
        """What ``make()`` gives on rank 0; an error of this package there is raised everywhere."""
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

    def agree(self, what: str, fact: object) -> None:
        """Check that all ranks have the same.

        Raises:
            DesyncError: On every rank, if they do not.
        """
        digests = self.gather(hashlib.blake2b(repr(fact).encode(), digest_size=8).hexdigest())
        if len(set(digests)) > 1:
            wrong = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
            raise DesyncError(
                f"{what} differs from that of rank 0 on rank {', '.join(wrong)}; start all ranks with the same "
                "settings, seed and code"
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
