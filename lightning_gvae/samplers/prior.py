"""The standard normal prior as a sampler."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_gvae.samplers.base import Sampler, check_count

__all__ = ["PriorSampler"]


class PriorSampler(Sampler):
    """The standard normal: nothing is fitted, and the state is empty.

    Args:
        latent_dim: Z, at least 1.
    """

    def fit(self, means: Tensor, log_vars: Tensor | None, seed: int) -> None:
        """Check the arguments as the other samplers do."""
        self._check_posteriors(means, log_vars)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` latents ``(n, Z)``; also without a fit."""
        check_count(n)
        return torch.randn(n, self.latent_dim, generator=generator, device=generator.device)

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density, nats, ``(n,)``."""
        self._check_latents(latents)
        return -0.5 * (latents.square() + math.log(2 * math.pi)).sum(1)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Refuse anything but an empty state."""
        self._check_state(state, {})
