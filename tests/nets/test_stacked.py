"""Stacked networks: each is what it would be alone."""

import math

import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.stacked import StackedLinear, StackedMLP
from lightning_gvae.rng import torch_stream


def streams(count):
    return [torch_stream(0, "weights", number) for number in range(count)]


def alone(stack: StackedMLP, index: int) -> nn.Sequential:
    """Network ``index`` built from ``nn.Linear``: the second implementation."""
    modules: list[nn.Module] = []
    for layer in stack.layers:
        assert isinstance(layer, StackedLinear)
        linear = nn.Linear(*layer.weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(layer.weight[index].T)
            linear.bias.copy_(layer.bias[index, 0])
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def test_outputs_and_gradients_are_those_of_single_networks():
    stack = StackedMLP((3, 8, 5, 2), streams(4))
    inputs = torch.randn(4, 6, 3, generator=torch_stream(0, "x"))
    outputs = stack(inputs)
    outputs.square().sum().backward()
    for index in range(4):
        single = alone(stack, index)
        expected = single(inputs[index])
        torch.testing.assert_close(outputs[index], expected)
        torch.testing.assert_close(stack.single(inputs[index], index), expected)
        expected.square().sum().backward()
        for layer, linear in zip(stack.layers, single[::2], strict=True):
            torch.testing.assert_close(layer.weight.grad[index], linear.weight.grad.T)
            torch.testing.assert_close(layer.bias.grad[index, 0], linear.bias.grad)


def test_a_network_does_not_depend_on_its_neighbours():
    few, many = StackedMLP((3, 4, 2), streams(2)), StackedMLP((3, 4, 2), streams(5))
    for ours, theirs in zip(few.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs[:2], rtol=0, atol=0)


def test_weights_start_as_those_of_torch_do():
    """Uniform within 1 / sqrt(fan in); nn.Linear has the same bounds and variance."""
    layer = StackedLinear(16, 400, streams(8))
    bound = 1 / math.sqrt(16)
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert values.abs().max() <= bound
        assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert float(values.mean()) == pytest.approx(0, abs=0.01)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    StackedMLP((3, 4, 2), streams(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_width_of_zero_is_refused():
    with pytest.raises(ConfigError, match="`fan_in` must be an integer of at least 1, got 0"):
        StackedLinear(0, 3, streams(1))
