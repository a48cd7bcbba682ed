"""A normalising flow of affine couplings fitted to the aggregate posterior."""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import torch_stream
from lightning_gvae.samplers.base import Sampler, check_count, check_fitted, draw_posterior

__all__ = ["CouplingFlow", "FlowSampler"]

MAX_LOG_SCALE = 2.0  # a coupling stretches by at most e^2, so that no single step can blow up


class CouplingFlow(nn.Module):
    r"""Invertible map between latents z and standard normal noise u by affine couplings.

    Each coupling keeps some dimensions and scales and shifts the others by functions of the kept ones:

    .. math:: y_b = x_b \odot \exp(s(x_a)) + t(x_a),\quad y_a = x_a

    What is kept is every other dimension in turn, after a fixed random permutation. The data are standardised first.
    With one dimension there is nothing to condition on: the flow is a Gaussian.

    Args:
        dim: Z.
        layers: Couplings.
        hidden: Width of the two hidden layers of each conditioner.
        generator: Source of the initial weights and of the permutations, on the CPU.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017, eq. 7-8.
    """

    def __init__(self, dim: int, layers: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        masks = []
        for layer in range(layers):
            # Two couplings share a permutation, so that together they change every dimension.
            if layer % 2 == 0:
                order = torch.randperm(dim, generator=generator)
            masks.append((order + layer) % 2)
        self.register_buffer("masks", torch.stack(masks).float())
        self.nets = nn.ModuleList(_conditioner(dim, hidden, generator) for _ in range(layers))

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


class FlowSampler(Sampler):
    """Normalising flow, trained by maximum likelihood on fresh draws z ~ q(z|x) at every step.

    Trained on the device of the posteriors in fp32, Adam with a cosine schedule, seconds with the defaults.

    Args:
        latent_dim: Z, at least 1.
        layers: Couplings, at least 1.
        hidden: Width of the conditioners, at least 1.
        steps: Optimiser steps, at least 1.
        batch_size: Posteriors a step, at least 1.
        lr: Initial learning rate, positive.

    Raises:
        ConfigError: A setting is out of range.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017.
    """

    def __init__(
        self,
        latent_dim: int,
        layers: int = 8,
        hidden: int = 64,
        steps: int = 1000,
        batch_size: int = 256,
        lr: float = 5e-3,
    ) -> None:
        super().__init__(latent_dim)
        counts = {"layers": layers, "hidden": hidden, "steps": steps, "batch_size": batch_size}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {value}.")
        if not lr > 0:
            raise ConfigError(f"`lr` must be positive, got {lr}; 1e-3 to 1e-2 works.")
        self.layers, self.hidden, self.steps, self.batch_size, self.lr = layers, hidden, steps, batch_size, lr
        self.flow: CouplingFlow | None = None

    def fit(self, means: Tensor, log_vars: Tensor | None, seed: int) -> None:
        """Train the flow; at least 2 images are needed."""
        self._check_posteriors(means, log_vars)
        if len(means) < 2:
            raise ConfigError(f"the sampler 'flow' needs at least 2 images, got {len(means)}.")
        # Callbacks run under inference mode, whose tensors and graphs are of no use for training.
        with torch.inference_mode(False), torch.enable_grad():
            means = means.detach().float().clone()
            log_vars = None if log_vars is None else log_vars.detach().float().clone()
            flow = self._build(seed).to(means.device)
            _standardise(flow, means, log_vars)
            self._train(flow, means, log_vars, seed)
        self.flow = flow.requires_grad_(False)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latents ``(n, Z)``, fp32, on the device of ``generator``, where the flow moves to."""
        check_count(n)
        flow = self._fitted().to(generator.device)
        return flow.inverse(torch.randn(n, self.latent_dim, generator=generator, device=generator.device))

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``, in the precision of fp32."""
        flow = self._fitted().to(latents.device)
        self._check_latents(latents)
        return flow.log_prob(latents.float())

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, masks and standardisation of the flow."""
        return {name: value.detach().cpu().clone() for name, value in self._fitted().state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a flow of the same layers and width over."""
        flow = self._build(0)
        self._check_state(state, {name: tuple(value.shape) for name, value in flow.state_dict().items()})
        flow.load_state_dict(state)
        self.flow = flow.requires_grad_(False)

    def _build(self, seed: int) -> CouplingFlow:
        return CouplingFlow(self.latent_dim, self.layers, self.hidden, torch_stream(seed, "sampler-flow-weights"))

    def _fitted(self) -> CouplingFlow:
        check_fitted(self.flow is not None, "flow")
        assert self.flow is not None
        return self.flow

    def _train(self, flow: CouplingFlow, means: Tensor, log_vars: Tensor | None, seed: int) -> None:
        optimizer = torch.optim.Adam(flow.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        generator = torch_stream(seed, "sampler-flow-draws", device=means.device)
        for _ in range(self.steps):
            rows = torch.randint(len(means), (self.batch_size,), generator=generator, device=means.device)
            latents = draw_posterior(means[rows], None if log_vars is None else log_vars[rows], generator)
            optimizer.zero_grad()
            (-flow.log_prob(latents).mean()).backward()
            # One far outlier must not undo what was learnt.
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()


def _conditioner(dim: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise((dim, hidden, hidden, 2 * dim)):
        # nn.Linear would draw its weights from the global generator.
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


def _standardise(flow: CouplingFlow, means: Tensor, log_vars: Tensor | None) -> None:
    """Mean and standard deviation of the aggregate posterior in closed form."""
    variance = means.var(0, correction=0) + (0 if log_vars is None else log_vars.exp().mean(0))
    flow.get_buffer("location").copy_(means.mean(0))
    flow.get_buffer("scale").copy_(variance.clamp(min=1e-12).sqrt())
