import os

import pytest
import torch

from lightning_gvae.gpu_check import VARIABLE, settle_gpu_check


@pytest.fixture
def asked_often(monkeypatch):
    """As Lightning leaves it; counts how often torch looks for the driver."""
    calls = []
    look = torch.cuda._device_count_nvml
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: calls.append(1) or look())
    monkeypatch.setenv(VARIABLE, "1")
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
def test_without_a_gpu_no_step_looks_for_one(asked_often):
    steps(5)
    assert len(asked_often) >= 5  # what is to be saved
    assert settle_gpu_check() is True
    asked_often.clear()
    steps(5)
    assert asked_often == []
    assert not torch.cuda.is_available()


def test_with_a_gpu_all_stays_as_it_is(asked_often, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert settle_gpu_check() is False
    assert os.environ[VARIABLE] == "1"
