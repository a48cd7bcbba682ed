"""FactorVAE: a discriminator estimates the total correlation of the latents, which the VAE is penalised for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.losses.density_ratio import density_ratio_loss, permuted_dimensions, ratio_total_correlation
from lightning_gvae.losses.elbo import ElboTerms, reparameterise
from lightning_gvae.models.penalised_vae import PenalisedVAE
from lightning_gvae.models.several_optimizers import SeveralOptimizers
from lightning_gvae.models.vae import dim_scalars
from lightning_gvae.nets.latent_discriminator import LatentDiscriminator

__all__ = ["FactorVAE"]


class FactorVAE(SeveralOptimizers, PenalisedVAE):
    r"""VAE and a discriminator of latents, each with an optimiser of its own; a batch counts as one step.

    .. math:: L = D + \beta R + \gamma\, \mathbb{E}_{q(z)}[l(z)],\qquad
              L_\mathrm{dis} = -\tfrac12\,\mathbb{E}_{q(z)}[\log\sigma(l(z))]
              - \tfrac12\,\mathbb{E}_{\bar q(z)}[\log(1 - \sigma(l(z)))]

    l is the discriminator's logit and :math:`\bar q = \prod_j q(z_j)`, whose draws are latents with every dimension
    shuffled over the batch. Both networks step by gradients at the same point, averaged over the ranks. The authors
    shuffle the latents of a second batch; here it is a second draw from the posteriors of the same one.

    Args:
        image_shape: ``(C, H, W)``.
        beta: KL weight, at least 0; 1 in the paper.
        gamma: Weight of the total correlation, at least 0; the authors have 10 to 40 on dSprites.
        discriminator: ``hidden`` and ``layers`` of the discriminator, see
            :class:`~lightning_gvae.nets.latent_discriminator.LatentDiscriminator`; the authors have 1,000 and 6.
        discriminator_optimizer: ``parameters -> Optimizer``; default is fused Adam at 1e-4, betas 0.5 and 0.9.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`; ``optimizer`` is the VAE's.

    Raises:
        ConfigError: A setting is out of range, or ``prior`` is learnt. When a fit starts: the trainer clips or
            accumulates gradients, shards weights, or scales fp16 losses.

    References:
        Kim and Mnih, Disentangling by Factorising, 2018, eq. 2 and algorithm 2.
    """

    gamma: Tensor
    loss_weights = ("beta", "gamma")
    penalty_names = ("total_correlation",)
    penalised: ClassVar[Mapping[str, str]] = {"gamma": "total_correlation"}
    unsaved = (*PenalisedVAE.unsaved, "discriminator_optimizer")
    beta_optimizer = 0  # the VAE's: what BetaEvolution looks ahead with

    def __init__(
        self,
        image_shape: Sequence[int],
        beta: float = 1.0,
        gamma: float = 10.0,
        discriminator: Mapping[str, int] | None = None,
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        **kwargs: Any,
    ) -> None:
        discriminator = dict(discriminator or {})  # plain among the hyper-parameters
        if unknown := discriminator.keys() - {"hidden", "layers"}:
            raise ConfigError(f"`discriminator` has the settings hidden, layers, got {min(unknown)!r}")
        super().__init__(image_shape, beta=beta, **kwargs)
        self.discriminator = LatentDiscriminator(self.latent_dim, **discriminator)
        self._make_discriminator_optimizer = discriminator_optimizer
        self._register_weights(gamma=gamma)
        self._set_up_optimizers()

    # What others use.

    def penalties(
        self, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Total correlation as the discriminator sees it, nats."""
        return {"total_correlation": ratio_total_correlation(self.discriminator(latents))}

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> ElboTerms:
        """Terms that the VAE's step lowers."""
        return self.elbo_terms(images, generator)

    # What Lightning calls.

    def setup(self, stage: str) -> None:
        """Refuse what the common step of both networks cannot do.

        Raises:
            ConfigError: Weights are sharded, fp16 losses need scaling, or the precision is refused.
        """
        super().setup(stage)
        if stage == "fit" and getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ConfigError("FactorVAE cannot scale fp16 losses; use trainer.precision=bf16-mixed or 32-true.")

    def make_optimizers(self) -> list[Optimizer]:
        """Optimisers of the VAE and of the discriminator."""
        judging = list(self.discriminator.parameters())
        own = {id(parameter) for parameter in judging}
        rest = [parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in own]
        make = self._make_optimizer or (lambda group: torch.optim.Adam(group, lr=1e-3, fused=True))
        judge = self._make_discriminator_optimizer or (
            lambda group: torch.optim.Adam(group, lr=1e-4, betas=(0.5, 0.9), fused=True)
        )
        return [make(rest), judge(judging)]

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One step of the VAE and one of the discriminator."""
        images, noise = self.prepare(batch), self._noise("train", self.current_epoch, batch_idx)
        log_now = self._log_now()
        with self._one_step() as (of_vae, of_discriminator):
            mean, log_var = self.posterior(images, noise)
            latents = reparameterise(mean, log_var, noise)
            terms = self.latent_terms(images, latents, mean, log_var, noise)
            self._update_beta(terms)
            loss, judgement = self.loss(terms), self._judgement(latents, mean, log_var, noise)
            self._descend_together([(of_vae, loss), (of_discriminator, judgement)])
        scalars = {"loss": loss, "recon": terms.recon, "kl": terms.kl, "elbo": -(terms.recon + terms.kl)}
        scalars |= dict(terms.penalties) | {"discriminator_loss": judgement}
        self._collect(scalars | dim_scalars(terms.kl_dims))
        if log_now:
            self._log_collected()
            self.log_dict(self._weight_scalars())
        return {"loss": loss.detach(), "kl": terms.kl.detach()}

    def _judgement(self, latents: Tensor, mean: Tensor, log_var: Tensor, noise: torch.Generator) -> Tensor:
        with torch.no_grad():
            shuffled = permuted_dimensions(reparameterise(mean, log_var, noise), noise)
        return density_ratio_loss(self.discriminator(latents.detach()), self.discriminator(shuffled))
