"""Evolution over the ranks of the training process group: add up scores, and check that all ranks agree.

Every rank must call these, in the same order. Without a process group they do nothing.
"""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from lightning_gvae.errors import DesyncError
from lightning_gvae.evolution.operators import Array
from lightning_gvae.process_group import has_several_ranks, rank_and_world_size

__all__ = [
    "check_agreement",
    "from_first_rank",
    "gather_over_ranks",
    "local_indices",
    "sum_over_ranks",
]

T = TypeVar("T")


def gather_over_ranks(value: T) -> list[T]:
    """The ranks' values, in their order, on every rank; tensors in them should lie on the CPU."""
    if not has_several_ranks():
        return [value]
    gathered: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def from_first_rank(value: T) -> T:
    """Rank 0's value, on every rank."""
    if not has_several_ranks():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def local_indices(count: int) -> list[int]:
    """Indices of the candidates that this rank scores: every world-th one."""
    rank, world_size = rank_and_world_size()
    return list(range(rank, count, world_size))


def sum_over_ranks(table: Array, device: torch.device) -> Array:
    """Sum of the ranks' fp64 tables, bit for bit the same on every rank.

    Args:
        table: Any shape, the same on every rank.
        device: Device that the process group's backend works with.
    """
    if not has_several_ranks():
        return table
    tensor = torch.as_tensor(table, dtype=torch.float64).to(device, copy=True)
    dist.all_reduce(tensor)
    return tensor.cpu().numpy()


def check_agreement(facts: Mapping[str, object], generation: int, device: torch.device) -> None:
    """Compare the ranks' facts by hash.

    Args:
        facts: What must be equal, by name; compared as text, in which floats keep all their digits.
        generation: For the message.
        device: Device that the process group's backend works with.

    Raises:
        DesyncError: on every rank, naming the ranks that differ from rank 0 and in what.
    """
    if not has_several_ranks():
        return
    own = torch.tensor([_digest(fact) for fact in facts.values()], device=device)
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    rows = torch.stack(gathered).cpu().numpy()
    wrong = [
        f"rank {rank} ({', '.join(name for name, differs in zip(facts, row != rows[0], strict=True) if differs)})"
        for rank, row in enumerate(rows)
        if np.any(row != rows[0])
    ]
    if wrong:
        mine = ", ".join(f"{name} {fact}" for name, fact in facts.items())
        raise DesyncError(
            f"the evolution differs from that of rank 0 on {', '.join(wrong)} at generation {generation}; this is rank "
            f"{dist.get_rank()} with {mine}. Start all ranks with the same settings, seed and checkpoint, and write "
            "beta on all of them or on none"
        )


def _digest(fact: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(fact).encode(), digest_size=8).digest(), "little", signed=True)
