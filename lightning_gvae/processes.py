"""The processes of a run: what Lightning leaves behind when it has started some, so that another run can follow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ended_with_the_run"]

# What Lightning's launcher and process group write for the processes that they start; with these in the environment a
# second run would take itself for one of those processes, start none and wait for them for ever.
VARIABLES = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE")


@contextmanager
def ended_with_the_run() -> Iterator[None]:
    """Leave the process group at the end of a run, and restore the environment.

    Needed where several runs follow each other in one process, as in a multirun. A group that was there before stays, and
    so does that of a run that failed, since to leave it may mean to wait for processes that are stuck.
    """
    import torch.distributed as dist

    before = {name: os.environ.get(name) for name in VARIABLES}
    grouped = dist.is_available() and dist.is_initialized()
    try:
        yield
        if not grouped and dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
