"""A normalising flow of affine couplings fitted to the aggregate posterior."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.flow import CouplingFlow
from lightning_gvae.rng import torch_stream
from lightning_gvae.samplers.base import Sampler, check_count, check_fitted, draw_posterior

__all__ = ["CouplingFlow", "FlowSampler"]


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


def _standardise(flow: CouplingFlow, means: Tensor, log_vars: Tensor | None) -> None:
    """Mean and standard deviation of the aggregate posterior in closed form."""
    variance = means.var(0, correction=0) + (0 if log_vars is None else log_vars.exp().mean(0))
    flow.get_buffer("location").copy_(means.mean(0))
    flow.get_buffer("scale").copy_(variance.clamp(min=1e-12).sqrt())
