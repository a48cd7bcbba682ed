"""Questions about the training process group, answered alike with and without one."""

import torch.distributed as dist

__all__ = ["has_several_ranks", "is_in_group", "rank_and_world_size"]


def is_in_group() -> bool:
    """Whether this process is in a process group, perhaps as its only member."""
    return dist.is_available() and dist.is_initialized()


def rank_and_world_size() -> tuple[int, int]:
    """Number of this rank and number of ranks; (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if is_in_group() else (0, 1)


def has_several_ranks() -> bool:
    """Whether there is another rank to talk to."""
    return rank_and_world_size()[1] > 1
