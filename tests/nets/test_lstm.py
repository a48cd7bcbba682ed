"""LSTMs under mixed precision: as asked where the device can, else in fp32, and said so once."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from lightning_gvae.nets import lstm as module
from lightning_gvae.nets.lstm import lstm_runs, run_lstm

CPU = torch.device("cpu")
TYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
FP32_ONLY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
TRAIN = """
import lightning as L, torch
from torch.utils.data import DataLoader
from lightning_gvae.models import TextVAE
model = TextVAE((6, 12), latent_dim=2, embedding=4, hidden=4, dropout=0.0)
tokens = torch.tensor([[5, 6, 7, 3, 0, 0], [8, 9, 3, 0, 0, 0]])
trainer = L.Trainer(accelerator="cpu", precision="bf16-mixed", max_steps=2, logger=False, barebones=True)
trainer.fit(model, DataLoader([tokens, tokens], batch_size=None))
with torch.autocast("cpu", torch.bfloat16):
    assert model.sample(3).shape[0] == 3 and model.decode(model.encode(tokens)[0]).shape[0] == 2
    assert model.decode_beam(torch.zeros(1, 2), 2).shape[0] == 1
assert all(parameter.isfinite().all() for parameter in model.parameters())
"""


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.LSTM(3, 5, batch_first=True)


@pytest.fixture
def without_a_kernel(monkeypatch):
    """A device on which no LSTM but one in fp32 can be made."""

    def refuse(device, dtype):
        raise RuntimeError("could not create a primitive descriptor for the LSTM. Set ONEDNN_VERBOSE")

    monkeypatch.setattr(module, "_try_lstm", refuse)
    module._lstm_runs.cache_clear()
    yield
    module._lstm_runs.cache_clear()


def inputs():
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))


@TYPES
def test_outputs_and_gradients_are_those_of_fp32_to_the_rounding_of_the_type(layer, dtype):
    exact, (hidden, cell) = run_lstm(layer, inputs())
    torch.testing.assert_close(layer(inputs()), (exact, (hidden, cell)))
    exact.sum().backward()
    slopes = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()
    with torch.autocast("cpu", dtype):
        found, (last, _) = run_lstm(layer, inputs(), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5, dtype=dtype)))
    found.float().sum().backward()
    assert found.dtype == (dtype if lstm_runs(CPU, dtype) else torch.float32)
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)
    torch.testing.assert_close(last.float(), hidden, atol=0.02, rtol=0.02)
    for parameter, slope in zip(layer.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, atol=0.1, rtol=0.1)


@TYPES
def test_a_device_without_the_kernel_computes_in_fp32_and_says_so_once(layer, dtype, without_a_kernel, caplog):
    exact, _ = layer(inputs())
    with caplog.at_level(logging.WARNING), torch.autocast("cpu", dtype):
        for _ in range(3):
            found, _ = run_lstm(layer, inputs().to(dtype).float())
            assert found.dtype == torch.float32
        assert torch.equal(run_lstm(layer, inputs())[0], exact)
        assert nn.Linear(3, 2)(inputs()).dtype == dtype  # only LSTMs are exempt
    (record,) = caplog.records
    assert "`trainer.precision`" in record.message and "LSTM layers stay in fp32" in record.message
    assert "could not create a primitive descriptor" in record.message and "ONEDNN" not in record.message


def test_fp32_asks_nothing_of_the_device(layer, without_a_kernel, caplog):
    assert run_lstm(layer, inputs())[0].dtype == torch.float32
    assert run_lstm(layer.double(), inputs().double())[0].dtype == torch.float64
    assert not caplog.records


def test_running_out_of_memory_is_not_taken_for_a_missing_kernel(monkeypatch):
    def full(device, dtype):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(module, "_try_lstm", full)
    module._lstm_runs.cache_clear()
    with pytest.raises(torch.OutOfMemoryError):
        lstm_runs(CPU, torch.bfloat16)
    monkeypatch.undo()
    assert lstm_runs(CPU, torch.bfloat16) in (True, False)


@TYPES
def test_the_answer_is_the_same_wherever_it_is_first_asked(dtype):
    answers = []

    def ask(values):
        module._lstm_runs.cache_clear()
        answers.append(lstm_runs(CPU, dtype))
        return values.sum()

    state = torch.get_rng_state()
    ask(torch.ones(2))
    with torch.inference_mode():
        ask(torch.ones(2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ask(torch.ones(2))
    torch.func.vmap(torch.func.grad(ask))(torch.ones(3, 2))
    assert len(answers) == 4 and len(set(answers)) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_processor_whose_lstm_knows_fp32_only_trains_and_writes_in_bf16():
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        env=os.environ | FP32_ONLY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert done.stderr.count("LSTM layers stay in fp32") == 1
