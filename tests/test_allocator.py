import platform
import subprocess
import sys

import pytest

from lightning_gvae.allocator import keep_freed_memory

MEASURE = """
import resource, torch
from lightning_gvae.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(10):
    torch.ones(16_000_000).sum()  # 64 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16_000_000).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep):
    command = [sys.executable, "-c", MEASURE.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_not_faulted_in_again():
    # 640 MB in pages of 4 KB are 156,250 faults; huge pages may make it fewer
    plain, kept = page_faults(keep=False), page_faults(keep=True)
    assert plain > 1000
    assert kept < plain / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert keep_freed_memory() is False
