"""Base of the VAEs whose loss has further weighted terms of the latents."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_number
from lightning_gvae.losses.elbo import ElboTerms
from lightning_gvae.models.vae import VAE

__all__ = ["PenalisedVAE"]


class PenalisedVAE(VAE):
    r"""VAE with weighted penalties, :math:`L = D + \beta R + \sum_k w_k P_k`.

    Each weight is a scalar fp64 buffer of its own, as ``beta`` is: checkpoints carry it, ``train/<weight>`` logs it,
    and it can be a gene of ``BetaEvolution``. Each penalty is logged by its name, in training and evaluation.

    Penalties compare the latents of a batch with each other, so their value depends on the batch size. Under several
    ranks each compares those of its own batch, and the gradients are averaged.

    Subclasses say which weight multiplies which penalty (``penalised``), compute them (:meth:`penalties`), and register
    the weights (:meth:`_register_weights`) at the end of their constructor.
    """

    penalised: ClassVar[Mapping[str, str]] = {}  # weight -> penalty
    rate_name: ClassVar[str] = "KL"  # what beta multiplies

    def loss(self, terms: ElboTerms, beta: Tensor | float | None = None) -> Tensor:
        """``recon + beta * rate + sum of weight * penalty``, nats; ``beta=None`` takes the model's own."""
        total = super().loss(terms, beta)
        for weight, penalty in self.penalised.items():
            total = total + self.get_buffer(weight).to(total.dtype) * terms.penalties[penalty]
        return total

    def on_fit_start(self) -> None:
        """Say which weights this run trains with."""
        how = f"written by {self.beta_writer}" if self.beta_writer else "constant"
        terms = {"beta": self.rate_name, **self.penalised}
        loss = " + ".join(f"{weight} * {term.replace('_', ' ')}" for weight, term in terms.items())
        weights = ", ".join(f"{weight} = {self.get_buffer(weight).item():g}" for weight in terms)
        rank_zero_info(
            f"Weights of the loss: {weights}, beta {how} (loss = recon + {loss}, nats per {self.sample_name})"
        )

    def _register_weights(self, **weights: float) -> None:
        """Register the weights of the penalties.

        Raises:
            ConfigError: One is negative or not finite, or the prior is learnt.
        """
        if not self.prior.is_standard:
            raise ConfigError(
                f"{type(self).__name__} compares latents with the standard normal, `prior` must be normal; use "
                "model=vae for a learnt prior."
            )
        for name, weight in weights.items():
            checked_number(name, weight, lambda v: 0 <= v < math.inf, "must be a weight of 0 or more")
            self.register_buffer(name, torch.tensor(float(weight), dtype=torch.float64))
