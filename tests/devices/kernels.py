"""Operations that torch has for accelerators alone, computed on the CPU: the cell of an LSTM."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["KERNELS"]


def lstm_cell(
    inputs: Tensor, hidden: Tensor, cell: Tensor, input_bias: Tensor | None = None, hidden_bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Next hidden and cell state ``(B, H)``, and the gates ``(B, 4H)`` that the backward pass needs."""
    total = inputs + hidden
    for bias in (input_bias, hidden_bias):
        total = total if bias is None else total + bias
    enter, forget, new, leave = total.chunk(4, dim=1)
    gates = [torch.sigmoid(enter), torch.sigmoid(forget), torch.tanh(new), torch.sigmoid(leave)]
    after = gates[1] * cell + gates[0] * gates[2]
    return gates[3] * torch.tanh(after), after, torch.cat(gates, dim=1)


def lstm_cell_backward(
    grad_hidden: Tensor | None, grad_after: Tensor | None, cell: Tensor, after: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of the gates' inputs ``(B, 4H)``, of the cell state before ``(B, H)`` and of a bias ``(4H,)``."""
    enter, forget, new, leave = gates.chunk(4, dim=1)
    shown = torch.tanh(after)
    of_hidden = torch.zeros_like(after) if grad_hidden is None else grad_hidden
    of_after = of_hidden * leave * (1 - shown * shown)
    of_after = of_after if grad_after is None else of_after + grad_after
    grads = torch.cat(
        [
            of_after * new * enter * (1 - enter),
            of_after * cell * forget * (1 - forget),
            of_after * enter * (1 - new * new),
            of_hidden * shown * leave * (1 - leave),
        ],
        dim=1,
    )
    return grads, of_after * forget, grads.sum(0) if has_bias else None


KERNELS: dict[str, Callable[..., Any]] = {
    "aten::_thnn_fused_lstm_cell": lstm_cell,
    "aten::_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward,
}
