"""Variational models: terms of the ELBO, densities, priors, and the KL weight that is evolved."""

from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_gvae.interfaces.models import EncodesLatents, HasPosterior, Network, PreparesBatches

__all__ = [
    "ConditionedModel",
    "DeclaresTerms",
    "Density",
    "DrawsTrainingNoise",
    "EvolvableModel",
    "HasBeta",
    "HasDensity",
    "HasElbo",
    "HasLikelihood",
    "HasPenalties",
    "HasPrior",
    "HasSchedule",
    "NamesLikelihood",
    "NamesOptimizer",
    "NamesWeights",
    "NoiseMap",
    "PriorDensity",
    "Terms",
    "TextModel",
    "TrainsJointly",
]


class NoiseMap(Protocol):
    """Prior as a map of standard normal noise."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Latents ``(B, Z)`` of noise ``(B, Z)``."""


class Density(Protocol):
    """Likelihood or prior that says whether it is one."""

    @property
    def is_normalised(self) -> bool:
        """Whether it integrates to 1."""


class PriorDensity(Density, Protocol):
    """Prior that says whether it is the standard normal."""

    @property
    def is_standard(self) -> bool:
        """Whether it is, whatever is learnt."""


class NamesLikelihood(Network, Protocol):
    """Model whose likelihood is an object of its own."""

    @property
    def likelihood(self) -> object:
        """The likelihood of images given latents."""


class HasPrior(Network, Protocol):
    """Model whose prior may be another one than the standard normal."""

    @property
    def prior(self) -> NoiseMap:
        """The prior of the latents."""


class Terms(Protocol):
    """Distortion and rate of a batch: scalars in nats, summed over pixels and latents, averaged over the batch."""

    @property
    def recon(self) -> Tensor:
        """Distortion, ``-log p(x|z)``."""

    @property
    def kl(self) -> Tensor:
        """Rate, the KL from the posteriors to the prior."""


class HasElbo(PreparesBatches, Protocol):
    """Model with an evidence lower bound."""

    def elbo_terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        """Distortion and rate, with one draw of the latents an image."""


class HasDensity(EncodesLatents, Protocol):
    """Model with densities of images and of latents."""

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """``log p(x|z)`` of pairs, ``(B,)``, nats."""

    def log_prior_ratio(self, latents: Tensor) -> Tensor:
        """``log p(z) - log N(z; 0, I)``, ``(B,)``, nats."""


class HasLikelihood(HasPosterior, HasElbo, HasDensity, Protocol):
    """Model with all that a variational autoencoder has."""


class TextModel(HasLikelihood, Protocol):
    """Model of sentences, tokens ``(B, T)``."""

    def sample(
        self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0, top_p: float = 1.0
    ) -> Tensor:
        """``n`` sentences: latents from the prior, then word by word."""

    def decode_beam(self, latents: Tensor, width: int = 5, length_penalty: float = 0.0) -> Tensor:
        """Tokens by beam search."""

    def interpolate(self, first: Tensor, second: Tensor, steps: int = 7) -> Tensor:
        """Sentences on the line between the codes of two."""

    def words(self, tokens: Tensor) -> list[str]:
        """Sentences as text."""


class HasBeta(Network, Protocol):
    """Model whose KL weight is the scalar buffer ``beta``."""

    beta: Tensor


class HasSchedule(HasBeta, Protocol):
    """Model that may write ``beta`` itself, at every step."""

    @property
    def schedule(self) -> object | None:
        """Schedule that computes ``beta``; None leaves it alone."""


class EvolvableModel(HasElbo, HasBeta, Protocol):
    """Model whose ``beta`` a callback may write."""

    def claim_beta(self, by: str) -> None:
        """Announce that a callback writes ``beta``."""

    def loss(self, terms: Any, beta: Tensor | float | None = None) -> Tensor:
        """``recon + beta * rate``, nats."""


class DeclaresTerms(EvolvableModel, Protocol):
    """Evolvable model that says which terms it is trained on: those of the ELBO, or others (VAE-GAN)."""

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        """Distortion and rate as training sees them."""


class DrawsTrainingNoise(DeclaresTerms, Protocol):
    """Evolvable model whose training draws its noise from streams of its own."""

    latent_dim: int
    seed: int

    @property
    def hparams(self) -> MutableMapping[str, Any]:
        """Arguments that it was made with."""

    def training_noise(self, epoch: int, batch: int) -> torch.Generator:
        """Generator of the noise of a batch of an epoch."""


class ConditionedModel(EvolvableModel, Protocol):
    """Evolvable model whose network is conditioned on the KL weight: D and R depend on ``beta`` at fixed weights."""

    conditions: list[str]
    beta_range: tuple[float, float]
    own_settings: frozenset[str]

    def rates(self) -> Tensor:
        """KL weights ``(G,)`` that it is used at."""

    def using(self, beta: Any) -> AbstractContextManager[None]:
        """Use the network at other KL weights meanwhile."""

    def at(self, beta: Any = None) -> Any:
        """The model at one KL weight, as a plain one."""


class NamesOptimizer(Protocol):
    """Model of several optimisers that says in whose loss ``beta`` is."""

    @property
    def beta_optimizer(self) -> int:
        """Number of the optimiser."""


class TrainsJointly(NamesOptimizer, Protocol):
    """Model of several optimisers with genes in the losses of others than the first, with which it is looked ahead."""

    @property
    def gene_optimizers(self) -> Mapping[str, int]:
        """Number of the optimiser in whose loss a gene is, by name."""

    def joint_loss(self, images: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Terms]:
        """Loss whose gradient is for every network that of its own loss, and its terms."""


class NamesWeights(Protocol):
    """Model that says which scalar buffers are weights of its loss."""

    @property
    def loss_weights(self) -> tuple[str, ...]:
        """Names of the buffers."""


class HasPenalties(Protocol):
    """Model whose loss has further terms of the latents."""

    @property
    def penalty_names(self) -> tuple[str, ...]:
        """Their names among the ``penalties`` of its terms."""
