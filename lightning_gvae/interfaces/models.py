"""What may be asked of a model."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol, Self, TypeGuard

import torch
from torch import Tensor, nn

__all__ = [
    "Autoencoder",
    "CheckpointedModel",
    "DecodesLatents",
    "DecodesNoise",
    "EncodesFeatures",
    "EncodesLatents",
    "EvolvableModel",
    "GenerativeModel",
    "GenomeModel",
    "HasBeta",
    "HasDecoder",
    "HasDiscriminator",
    "HasElbo",
    "HasLatentDim",
    "HasLikelihood",
    "HasPosterior",
    "HasPrior",
    "HasSchedule",
    "Model",
    "NamesOptimizer",
    "Network",
    "NoiseMap",
    "PreparesBatches",
    "Terms",
    "TextModel",
    "TorchModule",
    "TrainsOtherTerms",
    "encodes",
]


class TorchModule(Protocol):
    """Any module of torch, as far as it is asked here."""

    training: bool

    def eval(self) -> Self:
        """Switch to evaluation mode."""

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, or with ``False`` to evaluation mode."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say whether gradients are recorded for the weights."""

    def modules(self) -> Iterator[nn.Module]:
        """The module itself and all modules in it."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take over weights and buffers."""


class Network(TorchModule, Protocol):
    """Module that knows where its weights are."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""


class PreparesBatches(Network, Protocol):
    """Model that knows what to take of a batch."""

    def prepare(self, batch: Any) -> Tensor:
        """Input of the model, made of what a data loader yields: for images floats in [0, 1]."""


class Model(PreparesBatches, Protocol):
    """Model of data of one shape."""

    image_shape: tuple[int, ...]
    has_posterior: bool


class CheckpointedModel(Model, Protocol):
    """Model that takes over what a checkpoint holds."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model, and take over what are no weights."""


class HasLatentDim(Network, Protocol):
    """Model with a space of latents."""

    latent_dim: int


class DecodesLatents(HasLatentDim, Protocol):
    """Model that decodes latents ``(B, Z)``."""

    def decode(self, latents: Tensor) -> Tensor:
        """Expected pixels ``(B, C, H, W)`` in [0, 1], or points, or tokens."""


class DecodesNoise(HasLatentDim, Protocol):
    """Model that decodes standard normal noise ``(B, Z)``, by way of its prior."""

    def decode_noise(self, noise: Tensor) -> Tensor:
        """Expected pixels ``(B, C, H, W)`` in [0, 1], or points, or tokens."""


class NoiseMap(Protocol):
    """Prior as a map of standard normal noise."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Latents ``(B, Z)`` of noise ``(B, Z)``."""


class HasPrior(Network, Protocol):
    """Model whose prior may be another one than the standard normal."""

    @property
    def prior(self) -> NoiseMap:
        """The prior of the latents."""


class HasDecoder(DecodesLatents, Protocol):
    """Model whose latents are decoded by a network of their own."""

    @property
    def decoder(self) -> nn.Module:
        """The network behind ``decode``."""


class HasDiscriminator(Network, Protocol):
    """Model that tells real images from others."""

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and logits ``(B,)``, high for real images."""


class GenerativeModel(Model, DecodesLatents, Protocol):
    """Model that makes images, sentences or points of latents ``(B, Z)``."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws from the prior, decoded."""


class Autoencoder(Model, Protocol):
    """Model that reconstructs what it is given."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images decoded from the codes, or the means of the posteriors, of images."""


class EncodesFeatures(Model, Protocol):
    """Model whose codes can be given to a classifier."""

    def features(self, images: Tensor) -> Tensor:
        """Codes ``(B, F)`` of images."""


class EncodesLatents(Model, Protocol):
    """Model with a posterior of the latents for every image."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, ``(B, Z)`` each."""


class HasPosterior(GenerativeModel, Autoencoder, EncodesLatents, Protocol):
    """Generative model that also encodes."""


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


class HasLikelihood(HasPosterior, HasElbo, Protocol):
    """Model with densities of images and latents."""

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """``log p(x|z)`` of pairs, ``(B,)``, nats."""

    def log_prior_ratio(self, latents: Tensor) -> Tensor:
        """``log p(z) - log N(z; 0, I)``, ``(B,)``, nats."""


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
        """What computes ``beta``; None leaves it alone."""


class EvolvableModel(HasElbo, HasBeta, Protocol):
    """Model whose ``beta`` a callback may write."""

    def claim_beta(self, by: str) -> None:
        """Announce that a callback writes ``beta``."""

    def loss(self, terms: Any, beta: Tensor | float | None = None) -> Tensor:
        """``recon + beta * rate``, nats."""


class TrainsOtherTerms(EvolvableModel, Protocol):
    """Evolvable model that is trained on other terms than those of the ELBO of its pixels."""

    def trained_terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        """Distortion and rate as training sees them."""


class NamesOptimizer(Protocol):
    """Model of several optimisers that says in whose loss ``beta`` is."""

    @property
    def beta_optimizer(self) -> int:
        """Number of the optimiser."""


class GenomeModel(Autoencoder, EncodesFeatures, Protocol):
    """Model that is built from a genome, a :class:`~lightning_gvae.evolution.architecture.genome.Genome`."""

    genome: Any

    @property
    def hparams(self) -> MutableMapping[str, Any]:
        """Arguments that it was made with."""

    def adopt(self, genome: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        """Become the network of a genome, with weights if they are given."""

    def costs(self, genome: Any) -> dict[str, float]:
        """``loc``, ``macs`` and ``parameters`` of a genome, without building it."""

    def cost_function(self) -> Callable[[Any], dict[str, float]]:
        """Function from genomes to their costs, that can be sent to other processes."""

    def candidate_factory(self) -> Callable[..., Any]:
        """Function that makes a model of a genome, that can be sent to other processes."""


def encodes(model: Model) -> TypeGuard[HasPosterior]:
    """Whether a model has posteriors; a GAN, a language model or a plain autoencoder has not."""
    return model.has_posterior
