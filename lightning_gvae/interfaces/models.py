"""Models: modules that encode, decode, sample and reconstruct."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol, Self, TypeGuard

import torch
from torch import Tensor, nn

__all__ = [
    "Autoencoder",
    "CheckpointedModel",
    "DecodesLatents",
    "DecodesNoise",
    "DrawsSamples",
    "EncodesFeatures",
    "EncodesLatents",
    "GenerativeModel",
    "GenomeModel",
    "HasDecoder",
    "HasDiscriminator",
    "HasLatentDim",
    "HasPosterior",
    "Model",
    "Network",
    "PreparesBatches",
    "TorchModule",
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

    def on_load_checkpoint(self, checkpoint: Any) -> None:
        """Refuse the checkpoint of another model, and take over what are no weights."""


class HasLatentDim(Protocol):
    """Anything with a space of latents."""

    latent_dim: int


class DecodesLatents(HasLatentDim, Network, Protocol):
    """Model that decodes latents ``(B, Z)``."""

    def decode(self, latents: Tensor) -> Tensor:
        """Expected pixels ``(B, C, H, W)`` in [0, 1], or points, or tokens."""


class DecodesNoise(HasLatentDim, Network, Protocol):
    """Model that decodes standard normal noise ``(B, Z)``, by way of its prior."""

    def decode_noise(self, noise: Tensor) -> Tensor:
        """Expected pixels ``(B, C, H, W)`` in [0, 1], or points, or tokens."""


class HasDecoder(DecodesLatents, Protocol):
    """Model whose latents are decoded by a network of their own."""

    @property
    def decoder(self) -> nn.Module:
        """The network behind ``decode``."""


class HasDiscriminator(Network, Protocol):
    """Model that tells real images from others."""

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and logits ``(B,)``, high for real images."""


class DrawsSamples(Network, Protocol):
    """Model that draws from what it has learnt."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws from the prior, decoded."""


class GenerativeModel(Model, DecodesLatents, DrawsSamples, Protocol):
    """Model that makes images, sentences or points of latents ``(B, Z)``."""


class Autoencoder(PreparesBatches, Protocol):
    """Model that reconstructs what it is given."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images decoded from the codes, or the means of the posteriors, of images."""


class EncodesFeatures(PreparesBatches, Protocol):
    """Model whose codes can be given to a classifier."""

    def features(self, images: Tensor) -> Tensor:
        """Codes ``(B, F)`` of images."""


class EncodesLatents(Model, Protocol):
    """Model with a posterior of the latents for every image."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, ``(B, Z)`` each."""


class HasPosterior(GenerativeModel, Autoencoder, EncodesLatents, Protocol):
    """Generative model that also encodes."""


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
