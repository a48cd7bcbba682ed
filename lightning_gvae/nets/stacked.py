"""Many small networks of one shape as a few batched matrix products: best of K costs little more than one."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_gvae.errors import checked_count

__all__ = ["StackedLinear", "StackedMLP"]


class StackedLinear(nn.Module):
    r"""K independent linear layers, :math:`y_k = x_k W_k + b_k`.

    Network k is a function of its own input and its own parameters alone: its outputs and gradients are those of a
    single layer. Weights and biases start uniform within :math:`\pm 1/\sqrt{\text{fan in}}`, as those of ``nn.Linear``
    do.

    Args:
        fan_in: Width of the input, at least 1.
        fan_out: Width of the output, at least 1.
        generators: Source of the initial values of each of the K layers, on the CPU.
    """

    def __init__(self, fan_in: int, fan_out: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(checked_count("fan_in", fan_in))
        drawn = [(_uniform(fan_in, fan_out, bound, each), _uniform(1, fan_out, bound, each)) for each in generators]
        self.weight = nn.Parameter(torch.stack([weight for weight, _ in drawn]))
        self.bias = nn.Parameter(torch.stack([bias for _, bias in drawn]))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(K, B, fan_in)`` to ``(K, B, fan_out)``."""
        return torch.baddbmm(self.bias, inputs, self.weight)

    def single(self, inputs: Tensor, index: int | Tensor) -> Tensor:
        """``(B, fan_in)`` to ``(B, fan_out)`` by layer ``index``."""
        return torch.addmm(self.bias[index], inputs, self.weight[index])


class StackedMLP(nn.Module):
    """K independent multilayer perceptrons, ReLU between the layers and nothing after the last.

    Args:
        sizes: Widths from input to output, at least two.
        generators: Source of the initial values of each of the K networks, on the CPU.
    """

    def __init__(self, sizes: Sequence[int], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(StackedLinear(*pair, generators) for pair in itertools.pairwise(sizes))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(K, B, sizes[0])`` to ``(K, B, sizes[-1])``."""
        for number, layer in enumerate(self.layers):
            inputs = layer(torch.relu(inputs) if number else inputs)
        return inputs

    def single(self, inputs: Tensor, index: int | Tensor) -> Tensor:
        """``(B, sizes[0])`` to ``(B, sizes[-1])`` by network ``index``."""
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, StackedLinear)
            inputs = layer.single(torch.relu(inputs) if number else inputs, index)
        return inputs


def _uniform(rows: int, columns: int, bound: float, generator: torch.Generator) -> Tensor:
    return bound * (2 * torch.rand(rows, columns, generator=generator) - 1)
