"""An invertible network: affine couplings between latents and standard normal noise."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

__all__ = ["CouplingFlow"]

MAX_LOG_SCALE = 2.0  # a coupling stretches by at most e^2, so that no single step can blow up


class CouplingFlow(nn.Module):
    r"""Invertible map between latents z and standard normal noise u by affine couplings.

    Each coupling keeps some dimensions and scales and shifts the others by functions of the kept ones:

    .. math:: y_b = x_b \odot \exp(s(x_a)) + t(x_a),\quad y_a = x_a

    What is kept is every other dimension in turn, after a fixed random permutation. The data are standardised first.
    With one dimension there is nothing to condition on: the flow is a Gaussian. A new flow is the identity.

    Args:
        dim: Z.
        layers: Couplings.
        hidden: Width of the hidden layers of each conditioner.
        generator: Source of the initial weights and of the permutations, on the CPU.
        depth: Hidden layers of each conditioner.
        permute: With False the dimensions keep their order, and two couplings in a row always change different ones.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017, eq. 7-8.
    """

    def __init__(
        self, dim: int, layers: int, hidden: int, generator: torch.Generator, depth: int = 2, permute: bool = True
    ) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        masks = []
        order = torch.arange(dim)
        for layer in range(layers):
            # Two couplings share a permutation, so that together they change every dimension.
            if permute and layer % 2 == 0:
                order = torch.randperm(dim, generator=generator)
            masks.append((order + layer) % 2)
        self.register_buffer("masks", torch.stack(masks).float())
        self.nets = nn.ModuleList(_conditioner(dim, hidden, depth, generator) for _ in range(layers))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Noise ``(n, Z)`` and log determinant of the Jacobian ``(n,)`` of latents ``(n, Z)``."""
        location, scale = self.get_buffer("location"), self.get_buffer("scale")
        values = (latents - location) / scale
        log_det = -scale.log().sum().expand(len(latents))
        for mask, net in zip(self.get_buffer("masks"), self.nets, strict=True):
            log_scale, shift = _coefficients(net, mask, values)
            values = values * torch.exp(log_scale) + shift
            log_det = log_det + log_scale.sum(1)
        return values, log_det

    def inverse(self, noise: Tensor) -> Tensor:
        """Latents ``(n, Z)`` of noise ``(n, Z)``."""
        values = noise
        for mask, net in zip(reversed(self.get_buffer("masks")), reversed(self.nets), strict=True):
            log_scale, shift = _coefficients(net, mask, values)
            values = (values - shift) * torch.exp(-log_scale)
        return values * self.get_buffer("scale") + self.get_buffer("location")

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``."""
        noise, log_det = self(latents)
        return log_det - 0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)


def _conditioner(dim: int, hidden: int, depth: int, generator: torch.Generator) -> nn.Sequential:
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise((dim, *[hidden] * depth, 2 * dim)):
        # Linear would draw its weights from the global generator.
        linear = skip_init(nn.Linear, inputs, outputs)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.ReLU()]
    # The last layer starts at 0, and the flow as the identity on standardised data.
    nn.init.zeros_(linear.weight)
    return nn.Sequential(*modules[:-1])


def _coefficients(net: nn.Module, mask: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Log scale and shift ``(n, Z)``, zero where ``mask`` keeps the dimension."""
    log_scale, shift = net(values * mask).chunk(2, dim=1)
    changed = 1 - mask
    return changed * MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE), changed * shift
