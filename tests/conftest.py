"""Shared fixtures: a toy data module and the folder of real data."""

import os
import signal
from pathlib import Path

import pytest
import torch

# The networks of the tests are tiny: more threads would only wait for each other. The processes that tests start
# inherit it.
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))
# A job in the background of a script starts with Ctrl-C ignored, and under nohup with SIGHUP; runs keep that, so the
# tests of both would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("WANDB_SILENT", "true")


@pytest.fixture(scope="session")
def ray_session():
    """Ray with two workers, started once for all tests that need it."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture
def data_dir() -> Path:
    """Folder with real data sets; the test is skipped without it."""
    folder = os.environ.get("GVAE_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set GVAE_DATA_DIR to a folder with the data sets")
    return Path(folder).resolve()
