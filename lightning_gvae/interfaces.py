"""Interfaces: what callbacks, evaluation, studies and the lab may ask of a model and of a data module.

They are Protocols, so that a class of a user's own package fits without deriving from anything here. :func:`require`
checks one when a run starts and names what is missing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError

__all__ = [
    "DataFacts",
    "DataModule",
    "DataPart",
    "EvolvableModel",
    "GenerativeModel",
    "GenomeModel",
    "HasPosterior",
    "Terms",
    "TextModel",
    "encodes",
    "missing_members",
    "require",
]


class Terms(Protocol):
    """Distortion and rate of a batch: scalars in nats, summed over pixels and latents, averaged over the batch."""

    @property
    def recon(self) -> Tensor:
        """Distortion, ``-log p(x|z)``."""

    @property
    def kl(self) -> Tensor:
        """Rate, the KL from the posteriors to the prior."""


class GenerativeModel(Protocol):
    """Model that makes images, sentences or points of latents ``(B, Z)``."""

    image_shape: tuple[int, ...]
    latent_dim: int
    has_posterior: bool
    training: bool

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def eval(self) -> Any:
        """Switch to evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        """Switch to training mode, or with ``False`` to evaluation mode."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Buffers by name."""

    def prepare(self, batch: Any) -> Tensor:
        """Input of the model, made of what a data loader yields: for images floats in [0, 1]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Expected pixels ``(B, C, H, W)`` in [0, 1], or points, or tokens."""

    def decode_noise(self, noise: Tensor) -> Tensor:
        """The same of standard normal noise ``(B, Z)``, by way of the prior."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws from the prior, decoded."""


class HasPosterior(GenerativeModel, Protocol):
    """Model that also encodes: a posterior of the latents for every image."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, ``(B, Z)`` each."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images decoded from the means of their posteriors."""

    def elbo_terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        """Distortion and rate, with one draw of the latents an image."""

    def log_likelihood(self, images: Tensor, latents: Tensor) -> Tensor:
        """``log p(x|z)`` of pairs, ``(B,)``, nats."""

    def log_prior_ratio(self, latents: Tensor) -> Tensor:
        """``log p(z) - log N(z; 0, I)``, ``(B,)``, nats."""


class EvolvableModel(HasPosterior, Protocol):
    """Model whose KL weight is the scalar buffer ``beta``, which a callback may write.

    Optional: ``trained_terms``, called like ``elbo_terms``, where training looks at other terms than those of the ELBO;
    ``beta_optimizer``, the number of the optimiser in whose loss ``beta`` is, where there are several.
    """

    beta: Tensor

    def claim_beta(self, by: str) -> None:
        """Announce that a callback writes ``beta``."""

    def loss(self, terms: Any, beta: Tensor | float | None = None) -> Tensor:
        """``recon + beta * rate``, nats."""


class TextModel(HasPosterior, Protocol):
    """Model of sentences, tokens ``(B, T)``."""

    def decode_beam(self, latents: Tensor, width: int = 5, length_penalty: float = 0.0) -> Tensor:
        """Tokens by beam search."""

    def decode_sampled(
        self, latents: Tensor, generator: torch.Generator, temperature: float = 1.0, top_p: float = 1.0
    ) -> Tensor:
        """Tokens drawn word by word."""

    def interpolate(self, first: Tensor, second: Tensor, steps: int = 7) -> Tensor:
        """Sentences on the line between the codes of two."""

    def words(self, tokens: Tensor) -> list[str]:
        """Sentences as text."""


class GenomeModel(Protocol):
    """Model that is built from a genome."""

    hparams: Any

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def adopt(self, genome: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        """Become the network of a genome, with weights if they are given."""

    def cost_function(self) -> Callable[[Any], dict[str, float]]:
        """Function from genomes to their costs, that can be sent to other processes."""

    def candidate_factory(self) -> Callable[..., nn.Module]:
        """Function that makes a model of a genome, that can be sent to other processes."""

    def features(self, images: Tensor) -> Tensor:
        """Codes ``(B, F)`` of images."""


class DataFacts(Protocol):
    """Facts about a data set that are known before a file is opened."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)``, or ``(D,)`` of points."""

    @property
    def num_classes(self) -> int | None:
        """Number of labels, if there are any."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels, if they have any."""

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors, if the targets are factors."""

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of classes of each factor."""

    @property
    def is_grid(self) -> bool:
        """Whether there is one image for every combination of factors."""

    @property
    def binary(self) -> bool:
        """Whether pixels are either 0 or 255."""


class DataPart(Protocol):
    """Part of a data set: images and targets at chosen positions."""

    @property
    def source(self) -> Any:
        """Whole data set that the part is cut from."""

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Positions of the part in ``source``."""

    def __len__(self) -> int: ...

    def batch(self, positions: npt.NDArray[np.int64] | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images and targets."""


class DataModule(Protocol):
    """Data module in three parts."""

    @property
    def spec(self) -> DataFacts:
        """Facts about the data."""

    @property
    def train_set(self) -> DataPart:
        """Images to train on."""

    @property
    def val_set(self) -> DataPart:
        """Images to validate on."""

    @property
    def test_set(self) -> DataPart:
        """Images to test on."""

    def prepare_data(self) -> None:
        """Download or cache what is needed, in one process."""

    def setup(self, stage: str) -> None:
        """Load the parts."""


class _Need(NamedTuple):
    words: str
    advice: str


NEEDS: dict[type, _Need] = {
    GenerativeModel: _Need("a model that decodes latents", "choose a VAE, GAN or VAE-GAN"),
    HasPosterior: _Need("a model with posteriors", "choose a VAE or VAE-GAN"),
    EvolvableModel: _Need("a model with a KL weight", "choose a VAE or VAE-GAN"),
    TextModel: _Need("a text model", "take model=text_vae"),
    GenomeModel: _Need("a model that is built from a genome", "take model=conv_autoencoder or model=conv_vae"),
    DataModule: _Need("a data module in three parts", "fit with `datamodule=`, one of this package or like them"),
}

P = TypeVar("P")


def encodes(model: GenerativeModel) -> TypeGuard[HasPosterior]:
    """Whether a model has posteriors; a GAN, a language model or a plain autoencoder has not."""
    return model.has_posterior


def missing_members(candidate: object, interface: type) -> list[str]:
    """Names that an interface has and a candidate has not, sorted."""
    kinds = [kind for kind in interface.__mro__ if kind not in (object, Protocol)]
    names = {name for kind in kinds for name in (*vars(kind), *vars(kind).get("__annotations__", ()))}
    return sorted(name for name in names if not name.startswith("_") and not hasattr(candidate, name))


def require(candidate: object, interface: type[P], who: str, remedy: str | None = None) -> P:
    """A candidate as an interface.

    Args:
        candidate: A model or a data module; None is a missing one.
        interface: One of the Protocols of this module.
        who: What needs it, for the message.
        remedy: What to do instead of what fits in general.

    Raises:
        ConfigError: The candidate lacks members of the interface; the message names them.
    """
    missing = missing_members(candidate, interface)
    if missing:
        need = NEEDS[interface]
        lacking = "there is none" if candidate is None else f"{type(candidate).__name__} lacks {', '.join(missing)}"
        raise ConfigError(f"{who} needs {need.words}; {lacking}. Remove it, or {remedy or need.advice}.")
    return candidate  # type: ignore[return-value]
