"""Keeps freed memory in the process instead of handing it back to the kernel after every step."""

import ctypes
import os
import platform

__all__ = ["CHILDREN", "keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
LARGEST = 2**31 - 1
# What glibc reads when a process starts, mallopt(3).
CHILDREN = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(LARGEST)}


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks; speeds convolutional networks on the CPU up, numbers stay the same.

    By default every activation of 16 MB or more is a mapping of its own, returned to the kernel when it is freed and
    faulted in again, page by page, in the next step. The price is memory that stays with the process: its peak.
    Processes started from now on (candidates, cells of a study, ranks) do the same, by their environment.

    Returns:
        Whether it took effect: only on Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    os.environ.update(CHILDREN)
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
