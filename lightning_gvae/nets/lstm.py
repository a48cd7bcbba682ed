"""LSTMs under mixed precision, on processors whose LSTM kernel knows fp32 only."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor, nn

__all__ = ["lstm_runs", "run_lstm"]

State = tuple[Tensor, Tensor]

log = logging.getLogger(__name__)


def run_lstm(lstm: nn.LSTM, values: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Outputs and last state of an LSTM; under autocast in fp32 where the device has no kernel in autocast's type.

    Args:
        lstm: The layer.
        values: Inputs, ``(B, T, E)`` for a layer with ``batch_first``.
        state: First hidden and cell state, ``(layers, B, H)`` each; zeros without it.
    """
    device = values.device
    if torch.is_autocast_enabled(device.type) and not lstm_runs(device, torch.get_autocast_dtype(device.type)):
        with torch.autocast(device.type, enabled=False):
            return _apply(lstm, values.to(next(lstm.parameters()).dtype), state)
    return _apply(lstm, values, state)


@torch.compiler.disable
def lstm_runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether an LSTM trains and predicts on the device under autocast to ``dtype``; tried once in a process.

    The first answer of no is logged as a warning.
    """
    return _lstm_runs(device, dtype)


@cache
def _lstm_runs(device: torch.device, dtype: torch.dtype) -> bool:
    failure = _failure(partial(_try_lstm, device, dtype))
    if failure is not None:
        log.warning(
            "This machine (%s) has no LSTM in %s, which `trainer.precision` asks for: LSTM layers stay in fp32, the "
            "other layers are computed as asked. `trainer.precision=32-true` computes all of them in fp32. (%s)",
            device,
            str(dtype).removeprefix("torch."),
            str(failure).partition(". ")[0],
        )
    return failure is None


def _failure(attempt: Callable[[], None]) -> RuntimeError | None:
    # In a thread of its own, which has none of the caller's modes: inference, autocast, transforms of torch.func.
    with ThreadPoolExecutor(1) as pool:
        failure = pool.submit(attempt).exception()
    if failure is None:
        return None
    if isinstance(failure, RuntimeError) and not isinstance(failure, torch.OutOfMemoryError):
        return failure
    raise failure


def _try_lstm(device: torch.device, dtype: torch.dtype) -> None:
    # Weights of zero: initial ones would be drawn from the global generator.
    lstm = nn.utils.skip_init(nn.LSTM, 4, 4, batch_first=True, device=device)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    values = torch.zeros(2, 3, 4, device=device)
    with torch.autocast(device.type, dtype):
        with torch.no_grad():
            lstm(values)
        outputs, _ = lstm(values)
    outputs.sum().backward()


def _apply(lstm: nn.LSTM, values: Tensor, state: State | None) -> tuple[Tensor, State]:
    if state is not None:
        state = (state[0].to(values.dtype), state[1].to(values.dtype))
    outputs, last = lstm(values, state)
    return outputs, last
