"""beta-VAE with controlled capacity increase."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.losses.elbo import ElboTerms, capacity_rate
from lightning_gvae.models.vae import VAE
from lightning_gvae.schedules import linear_annealing

__all__ = ["CapacityVAE"]


class CapacityVAE(VAE):
    r"""VAE whose KL is pulled to a capacity that grows linearly, :math:`L = D + \gamma\,|R - C(t)|`.

    The weight :math:`\gamma` is the model's ``beta`` buffer.

    Args:
        image_shape: ``(C, H, W)``.
        capacity: Final capacity :math:`C`, nats, positive.
        capacity_steps: Optimiser steps until it is reached, positive.
        beta: :math:`\gamma`, at least 0.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: The capacity or its steps are not positive, or free bits are asked for too.

    References:
        Burgess et al., Understanding Disentangling in beta-VAE, 2018, eq. 8.
    """

    capacity: Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        capacity: float = 25.0,
        capacity_steps: int = 100_000,
        beta: float = 100.0,
        **kwargs: Any,
    ) -> None:
        if not (capacity > 0 and capacity_steps > 0):
            raise ConfigError(f"`capacity` and `capacity_steps` must be positive, got {capacity} and {capacity_steps}.")
        super().__init__(image_shape, beta=beta, **kwargs)
        if self.has_free_bits:
            raise ConfigError("`free_bits` has no meaning with a capacity: set it to 0, or use model=vae.")
        self.final_capacity, self.capacity_steps = capacity, capacity_steps
        self.register_buffer("capacity", torch.tensor(0.0, dtype=torch.float64))

    def rate(self, terms: ElboTerms) -> Tensor:
        """Distance of the KL from the present capacity. Scalar, nats."""
        return capacity_rate(terms.kl, self.capacity.to(terms.kl.dtype))

    def unfinished(self, end: float) -> str | None:
        """Sentence if the capacity is still growing when the run ends."""
        if self.capacity_steps <= end:
            return super().unfinished(end)
        last = linear_annealing(int(max(end - 1, 0)), self.capacity_steps, 0.0, self.final_capacity)
        return (
            f"`model.capacity_steps` is {self.capacity_steps}, but the run ends at step {end:.0f}: the capacity "
            "will be "
            f"{last:.3g} nats then, not {self.final_capacity:g}; lower it or train for longer"
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let the capacity grow."""
        self.capacity.fill_(linear_annealing(self.global_step, self.capacity_steps, 0.0, self.final_capacity))
