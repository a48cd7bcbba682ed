"""Plain networks that compute what a gated one does at one KL weight."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_gvae.nets.rate_gates import Factors, RateGates, gated_layers

__all__ = ["fold"]


@torch.no_grad()
def fold(networks: Mapping[str, nn.Module], gates: RateGates, condition: Tensor) -> dict[str, Tensor]:
    """Weights of plain networks that compute what the gated ones do under one condition.

    Args:
        networks: Encoder and decoder by name.
        gates: Attached to them.
        condition: Standardised log weights ``(1, G)``.

    Returns:
        State of the networks by name, ``encoder.layers.0.weight`` and so on.
    """
    factors = gates.factors(condition)
    state: dict[str, Tensor] = {}
    for network, module in networks.items():
        state |= {f"{network}.{key}": value.clone() for key, value in module.state_dict().items()}
        for path, layer in gated_layers(module).items():
            if found := factors.get(f"{network}.{path}"):
                _fold_layer(state, f"{network}.{path}." if path else f"{network}.", layer, found)
    return state


def _fold_layer(state: dict[str, Tensor], prefix: str, layer: nn.Module, factors: Factors) -> None:
    scale = factors.scale[0]
    shift = torch.zeros_like(scale) if factors.shift is None else factors.shift[0]
    if isinstance(layer, nn.RNNBase):  # its inputs are gated
        for end in ("l0", "l0_reverse") if layer.bidirectional else ("l0",):
            weight, bias = f"{prefix}weight_ih_{end}", f"{prefix}bias_ih_{end}"
            if bias in state:
                state[bias] += state[weight] @ shift
            state[weight] *= scale
        return
    weight, bias = f"{prefix}weight", f"{prefix}bias"
    values = state[weight]
    ones = [1] * (values.ndim - 1)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        # (in, out / groups, ...): the inputs of each group have outputs of their own
        grouped = values.unflatten(0, (layer.groups, -1))
        state[weight] = (grouped * scale.view(layer.groups, 1, -1, *ones[1:])).flatten(0, 1)
    else:
        state[weight] = values * scale.view(-1, *ones)
    if bias in state:
        state[bias] = state[bias] * scale + shift
