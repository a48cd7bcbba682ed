"""Settings of the process take effect where they should, and nowhere else."""

import os
import platform
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.profilers import PassThroughProfiler

from lightning_gvae.runtime import (
    GPU_CHECK_VARIABLE,
    GROUP_VARIABLES,
    NoProfiler,
    keep_freed_memory,
    process_group_scope,
    settle_gpu_check,
)

MEASURE = """
import resource, torch
if {keep}:
    from lightning_gvae.runtime import keep_freed_memory
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
from lightning_gvae.runtime import keep_freed_memory
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


@pytest.fixture
def searches(monkeypatch):
    """The environment as Lightning leaves it; one entry for each time torch looks for the driver."""
    calls = []
    look = torch.cuda._device_count_nvml
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: calls.append(1) or look())
    monkeypatch.setenv(GPU_CHECK_VARIABLE, "1")
    return calls


def steps(count):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], fused=True)
    for _ in range(count):
        weight.grad = torch.ones(2)
        optimizer.step()


@pytest.mark.skipif(
    torch.cuda.is_available() or not torch.backends.cuda.is_built(), reason="about machines without a GPU"
)
def test_without_a_gpu_no_step_looks_for_one(searches):
    steps(5)
    assert len(searches) >= 5  # what is to be saved
    assert settle_gpu_check() is True
    searches.clear()
    steps(5)
    assert searches == []
    assert not torch.cuda.is_available()


def test_with_a_gpu_all_stays_as_it_is(searches, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert settle_gpu_check() is False
    assert os.environ[GPU_CHECK_VARIABLE] == "1"


def test_the_profiler_gives_one_context_that_does_nothing():
    profiler = NoProfiler()
    assert isinstance(profiler, PassThroughProfiler)  # Lightning takes it for its default
    first = profiler.profile("a")
    assert profiler.profile("b") is first
    with first, profiler.profile("nested"):
        pass
    with pytest.raises(RuntimeError, match="boom"), first:
        raise RuntimeError("boom")


def test_the_process_group_of_a_run_ends_with_it(tmp_path, monkeypatch):
    for name in GROUP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "29512")
    with process_group_scope():
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
        os.environ |= {"LOCAL_RANK": "0", "MASTER_PORT": "1", "WORLD_SIZE": "2"}
    assert not dist.is_initialized()
    assert {name: os.environ.get(name) for name in GROUP_VARIABLES if name in os.environ} == {"MASTER_PORT": "29512"}
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/outer", rank=0, world_size=1)
    try:
        with process_group_scope():
            assert dist.is_initialized()
        assert dist.is_initialized(), "a group that was there before is somebody else's"
    finally:
        dist.destroy_process_group()
    with pytest.raises(RuntimeError, match="boom"), process_group_scope():
        os.environ["LOCAL_RANK"] = "0"
        raise RuntimeError("boom")
    assert "LOCAL_RANK" not in os.environ
