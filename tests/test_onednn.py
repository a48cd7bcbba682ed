"""Who multiplies: what was asked for, or the faster on this processor; processes started later do the same."""

import subprocess
import sys

import pytest
import torch

from lightning_gvae import onednn
from lightning_gvae.errors import ConfigError
from lightning_gvae.onednn import VARIABLE, onednn_chosen, onednn_pays, use_onednn


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setenv(VARIABLE, "auto")
    yield
    onednn_chosen.cache_clear()


def test_started_processes_do_the_same():
    script = "from lightning_gvae.onednn import onednn_chosen; print(onednn_chosen())"
    for choice in (True, False):
        use_onednn(choice)
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=240)
        assert found.stdout.strip() == str(choice)


def test_auto_asks_for_the_processor(monkeypatch, tmp_path):
    def on(capability, vendor):
        info = tmp_path / "cpuinfo"
        info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n", encoding="utf-8")
        monkeypatch.setattr(onednn, "INFO", info)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        onednn_pays.cache_clear()
        return use_onednn("auto")

    try:
        assert on("AVX512", "AuthenticAMD")
        assert not on("AVX512", "GenuineIntel")
        assert not on("AVX2", "AuthenticAMD")
    finally:
        onednn_pays.cache_clear()


def test_another_choice_is_refused():
    with pytest.raises(ConfigError, match="`onednn_linear` must be auto, true or false, got 'mkl'"):
        use_onednn("mkl")
