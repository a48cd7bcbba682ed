"""Gates of a multi-rate network: the plain network at the start, their gradients, and plain networks made of them."""

import copy

import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.build import build_network
from lightning_gvae.nets.rate_folding import fold
from lightning_gvae.nets.rate_gates import RateGates
from lightning_gvae.rng import torch_stream

NETWORKS = {
    "mlp": (1, 8, 8),
    "conv": (1, 28, 28),
    "conv_norm": (1, 28, 28),
    "control64": (1, 64, 64),
}


def gates_of(networks, kind="centred", groups=1, own=None):
    stream = torch_stream(0, "gates")
    return RateGates(networks, groups, kind, own or (lambda: torch.zeros(1, groups)), stream)


def shaken(gates):
    stream = torch_stream(1, "shake")
    with torch.no_grad():
        for parameter in gates.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=stream) / 2)
    return gates


class Odd(nn.Module):
    """Layers that no network of this package has: grouped and transposed convolutions, no bias, an LSTM both ways."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(2, 4, 3, groups=2, bias=False),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.ConvTranspose1d(4, 6, 3, groups=2),
        )
        self.lstm = nn.LSTM(6, 3, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6, 2, bias=False)

    def forward(self, x):
        return self.head(self.lstm(self.convolutions(x).transpose(1, 2))[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_at_zero_the_gates_change_not_a_bit(name):
    torch.manual_seed(0)
    encoder, decoder = build_network(name, NETWORKS[name], 3)
    x, z = torch.rand(4, *NETWORKS[name]), torch.randn(4, 3)
    plain = encoder(x), decoder(z)
    gates = gates_of({"encoder": encoder, "decoder": decoder}, groups=2)
    with gates.set_to(torch.randn(4, 2)):
        gated = encoder(x), decoder(z)
    assert all(torch.equal(a, b) for a, b in zip(plain, gated, strict=True))


@pytest.mark.parametrize("kind", ["centred", "published"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_computes_the_same_as_the_gated_one(name, kind):
    torch.manual_seed(0)
    networks = dict(zip(("encoder", "decoder"), build_network(name, NETWORKS[name], 3), strict=True))
    bare = copy.deepcopy(networks)
    gates, condition = shaken(gates_of(networks, kind)), torch.tensor([[-0.7]])
    state = fold(networks, gates, condition)
    inputs = {"encoder": torch.rand(4, *NETWORKS[name]), "decoder": torch.randn(4, 3)}
    for part, network in bare.items():
        network.load_state_dict({key.removeprefix(f"{part}."): v for key, v in state.items() if key.startswith(part)})
        with gates.set_to(condition):
            gated = networks[part](inputs[part])
        torch.testing.assert_close(network(inputs[part]), gated, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(gated, networks[part](inputs[part]), atol=1e-3)  # the condition does matter


def test_any_layers_can_be_folded():
    torch.manual_seed(0)
    network = Odd().double().eval()
    bare = copy.deepcopy(network)
    gates = shaken(gates_of({"encoder": network}, groups=2).double())
    assert gates.layers == ["encoder.convolutions.1", "encoder.convolutions.3", "encoder.lstm", "encoder.head"]
    condition, x = torch.randn(1, 2, dtype=torch.float64), torch.randn(3, 2, 7, dtype=torch.float64)
    state = fold({"encoder": network}, gates, condition)
    bare.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items()})
    with gates.set_to(condition):
        torch.testing.assert_close(bare(x), network(x))


def test_a_network_may_be_a_single_layer():
    layer = nn.Linear(2, 3)
    gates = shaken(gates_of({"encoder": layer}))
    x, condition = torch.randn(4, 2), torch.ones(1, 1)
    state = fold({"encoder": layer}, gates, condition)
    with gates.set_to(condition):
        torch.testing.assert_close(layer(x), nn.functional.linear(x, state["encoder.weight"], state["encoder.bias"]))


def test_each_part_of_a_batch_has_its_own_condition():
    network = nn.Sequential(nn.Conv1d(5, 4, 1), nn.ReLU(), nn.Conv1d(4, 3, 1))
    gates = shaken(gates_of({"decoder": network}, groups=2))
    x, condition = torch.randn(6, 5, 2), torch.randn(3, 2)
    with gates.set_to(condition):
        together = network(x)
    for part in range(3):
        with gates.set_to(condition[part : part + 1]):
            torch.testing.assert_close(network(x[2 * part : 2 * part + 2]), together[2 * part : 2 * part + 2])


def test_gradients_of_a_gate_are_those_of_its_formula():
    layer = nn.Linear(3, 3).double()
    gates = shaken(gates_of({"encoder": layer}).double())
    x, s = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)
    upstream = torch.randn(4, 3, dtype=torch.float64)
    with gates.set_to(s):
        layer(x).backward(upstream)
    sigma = torch.sigmoid(s * gates.slope + gates.offset).detach()
    outputs = nn.functional.linear(x, layer.weight, layer.bias).detach()
    inner = upstream * outputs * 2 * sigma * (1 - sigma)
    torch.testing.assert_close(gates.slope.grad, (inner * s).sum(0, keepdim=True))
    torch.testing.assert_close(gates.offset.grad, inner.sum(0))
    torch.testing.assert_close(gates.shift.grad, (upstream * s).sum(0, keepdim=True))
    torch.testing.assert_close(layer.bias.grad, (upstream * 2 * sigma).sum(0))


def test_published_gates_of_a_decoder_close_without_spoiling_gradients():
    network = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 2))
    gates = gates_of({"decoder": network}, "published")
    assert gates.layers == ["decoder.0"]  # all layers but the last
    with gates.set_to(torch.zeros(1, 1)):
        scale = gates.factors(torch.zeros(1, 1))["decoder.0"].scale
        network(torch.randn(8, 3)).sum().backward()
    torch.testing.assert_close(scale[0].detach().square(), (1 - gates.offset.detach().exp()).clamp(min=0))
    assert (scale == 0).any() and (scale > 0).any()
    assert gates.offset.grad.isfinite().all()
    assert gates.slope.grad.isfinite().all()


def test_a_copied_network_has_gates_and_a_condition_of_its_own():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.rate = nn.Linear(2, 2), 0.0
            self.gates = shaken(gates_of({"encoder": self.layer}, own=self.own))

        def own(self):
            return torch.full((1, 1), self.rate)

    first, x = Holder(), torch.randn(3, 2)
    second = copy.deepcopy(first)
    second.rate = 2.0
    before = first.layer(x)
    assert not torch.allclose(before, second.layer(x))
    with torch.no_grad():
        second.gates.offset.add_(1.0)
    assert torch.equal(first.layer(x), before)
    with second.gates.detached({"encoder": second.layer}):
        assert torch.equal(second.layer(x), nn.functional.linear(x, second.layer.weight, second.layer.bias))
    assert not torch.allclose(second.layer(x), nn.functional.linear(x, second.layer.weight, second.layer.bias))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ConfigError, match="`network` must have layers that can be gated .* its encoder has none"):
        gates_of({"encoder": nn.Flatten()})
