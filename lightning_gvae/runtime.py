"""Settings of the running process by public means: the allocator, the search for a GPU, the profiler, process groups.

None of them changes a number. For small networks on the CPU a training step takes 1.8 times as long as that of a bare
loop with the first three, and 2.3 times without (8x8 images, batch 16); most of that is :func:`settle_gpu_check`.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from lightning.pytorch.profilers import PassThroughProfiler

from lightning_gvae.process_group import is_in_group

__all__ = [
    "ALLOCATOR_VARIABLES",
    "GPU_CHECK_VARIABLE",
    "GROUP_VARIABLES",
    "NoProfiler",
    "keep_freed_memory",
    "process_group_scope",
    "settle_gpu_check",
]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
LARGEST = 2**31 - 1
# What glibc reads when a process starts, mallopt(3).
ALLOCATOR_VARIABLES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(LARGEST)}
GPU_CHECK_VARIABLE = "PYTORCH_NVML_BASED_CUDA_CHECK"  # torch reads it at every torch.cuda.is_available()
# What Lightning's launcher and process group write for the processes that they start.
GROUP_VARIABLES = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE")

_NOTHING: AbstractContextManager = nullcontext()


def keep_freed_memory() -> bool:
    """Tells glibc to keep large freed blocks instead of handing them back to the kernel after every step.

    By default every activation of 16 MB or more is a mapping of its own, returned to the kernel when it is freed and
    faulted in again, page by page, in the next step. The price is memory that stays with the process: its peak.
    Processes started from now on (candidates, cells of a study, ranks) do the same, by their environment.

    Worth a factor of 1.4 for convolutional networks on the CPU, on every machine tried; little for others.

    Returns:
        Whether it took effect: only on Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    os.environ.update(ALLOCATOR_VARIABLES)
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))


def settle_gpu_check() -> bool:
    """Lets torch keep the answer that this machine has no GPU; with a GPU nothing is changed.

    Torch's optimisers ask at every step. Lightning has torch ask the driver's library each time, so that processes can
    still be forked; without a driver that is a search for a file that is not there, in vain and at every step.

    Worth most for small networks, whose steps are short, on machines without a GPU: up to a fifth of a step at 8x8
    images.

    Returns:
        Whether there is none, so that it took effect.
    """
    if torch.cuda.device_count() > 0:
        return False
    os.environ[GPU_CHECK_VARIABLE] = "0"
    return True


class NoProfiler(PassThroughProfiler):
    """Profiler that builds nothing; ``trainer.profiler=simple`` profiles.

    Lightning asks its profiler for a context around every hook of every callback, some seventy times a step. The
    default one builds a generator each time; here it is one object that does nothing. Worth some 50
    microseconds a step on one core of a server, which counts for small networks only.
    """

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Context that does nothing."""
        return _NOTHING


@contextmanager
def process_group_scope() -> Iterator[None]:
    """Leaves the process group at the end of a run, and restores the environment.

    Needed where several runs follow each other in one process, as in a multirun: with Lightning's variables still in
    the environment a second run would take itself for one of the first run's processes, start none and wait for them
    for ever. A group that was there before stays, and so does that of a run that failed, since to leave it may mean to
    wait for processes that are stuck. It saves no time.
    """
    before = {name: os.environ.get(name) for name in GROUP_VARIABLES}
    grouped = is_in_group()
    try:
        yield
        if not grouped and is_in_group():
            dist.destroy_process_group()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
