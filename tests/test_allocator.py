import os
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


INHERIT = """
import subprocess, sys
from lightning_gvae.allocator import keep_freed_memory
assert keep_freed_memory()
print(subprocess.run([sys.executable, "-c", {script!r}], capture_output=True, text=True, check=True).stdout)
"""


def page_faults(keep, inherited=False):
    script = MEASURE.format(keep=keep)
    if inherited:
        script = INHERIT.format(script=MEASURE.format(keep=False))
    command = [sys.executable, "-c", script]
    # A run in this process leaves its setting to the processes that it starts.
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, env=own).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_not_faulted_in_again():
    # 640 MB in pages of 4 KB are 156,250 faults; huge pages may make it fewer
    plain, kept = page_faults(keep=False), page_faults(keep=True)
    assert plain > 1000
    assert kept < plain / 10
    # the processes of a pool, and the cells of a study, are told by their environment
    assert page_faults(keep=False, inherited=True) < plain / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert keep_freed_memory() is False
