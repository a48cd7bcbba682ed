"""Checks of candidates against the interfaces."""

import inspect
from typing import NamedTuple, Protocol, TypeGuard, TypeVar

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces.data import CriterionData, DataModule, DescribedData
from lightning_gvae.interfaces.models import (
    Autoencoder,
    CheckpointedModel,
    DecodesLatents,
    DecodesNoise,
    DrawsSamples,
    EncodesFeatures,
    EncodesLatents,
    GenerativeModel,
    GenomeModel,
    HasDecoder,
    HasDiscriminator,
    HasLatentDim,
    HasPosterior,
    Model,
    PreparesBatches,
)
from lightning_gvae.interfaces.variational import (
    EvolvableModel,
    HasBeta,
    HasDensity,
    HasElbo,
    HasLikelihood,
    TextModel,
)

__all__ = ["missing_members", "offers", "require"]


class _Need(NamedTuple):
    words: str
    advice: str


_IMAGES = "choose a VAE, GAN or VAE-GAN"
_POSTERIORS = "choose a VAE or VAE-GAN"
_GENOME = "choose model=conv_autoencoder or model=conv_vae"
_DATA = "fit with `datamodule=`, one of this package or like them"
NEEDS: dict[type, _Need] = {
    Model: _Need("a model that prepares batches of images of one shape", "choose a model of this package"),
    CheckpointedModel: _Need("a model that can be restored", "choose a model of this package"),
    HasLatentDim: _Need("a model with latents", _IMAGES),
    DecodesLatents: _Need("a model that decodes latents", _IMAGES),
    DecodesNoise: _Need("a model that decodes noise by way of a prior", _IMAGES),
    HasDecoder: _Need("a model with a network that decodes", _IMAGES),
    HasDiscriminator: _Need("a model with a discriminator", "choose model=vae_gan or model=gan"),
    GenerativeModel: _Need("a model that decodes latents and samples", _IMAGES),
    Autoencoder: _Need("a model that reconstructs", _POSTERIORS),
    EncodesLatents: _Need("a model with posteriors", _POSTERIORS),
    EncodesFeatures: _Need("a model whose codes are features", _GENOME),
    HasPosterior: _Need("a model with posteriors", _POSTERIORS),
    HasElbo: _Need("a model with an ELBO", _POSTERIORS),
    HasDensity: _Need("a model with a likelihood", _POSTERIORS),
    HasLikelihood: _Need("a model with posteriors and a likelihood", _POSTERIORS),
    DrawsSamples: _Need("a model that samples", _IMAGES),
    PreparesBatches: _Need("a model that prepares batches", "choose a model of this package"),
    TextModel: _Need("a text model", "take model=text_vae"),
    HasBeta: _Need("a model with a KL weight", _POSTERIORS),
    EvolvableModel: _Need("a model with a KL weight", _POSTERIORS),
    GenomeModel: _Need("a model that is built from a genome", _GENOME),
    DescribedData: _Need("a data module with a description of its data", _DATA),
    DataModule: _Need("a data module in three parts", _DATA),
    CriterionData: _Need("a data module with a constrained problem", "take data=criterion"),
}

P = TypeVar("P")
_ABSENT = object()


def missing_members(candidate: object, interface: type) -> list[str]:
    """Names that an interface has and a candidate has not, sorted; no property is computed to find out."""
    kinds = [kind for kind in interface.__mro__ if kind not in (object, Protocol)]
    members = {name: member for kind in kinds for name, member in _members(kind).items() if name[0] != "_"}
    return sorted(name for name, member in members.items() if not _has(candidate, name, callable(member)))


def _members(kind: type) -> dict[str, object]:
    return dict.fromkeys(vars(kind).get("__annotations__", ())) | dict(vars(kind))


def _has(candidate: object, name: str, is_method: bool) -> bool:
    found = inspect.getattr_static(candidate, name, _ABSENT)
    if found is _ABSENT:  # buffers and parts of a module; else not looked up so, since a property may load data
        return hasattr(candidate, name)
    return found is not None or not is_method


def offers(candidate: object, interface: type[P]) -> TypeGuard[P]:
    """Whether a candidate has all members of an interface; for what is optional."""
    return not missing_members(candidate, interface)


def require(candidate: object, interface: type[P], who: str, remedy: str | None = None) -> P:
    """A candidate as an interface.

    Args:
        candidate: A model or a data module; None is a missing one.
        interface: One of the Protocols of :mod:`lightning_gvae.interfaces`.
        who: What needs it, for the message.
        remedy: What to do, a sentence without its point; None is to remove it, or what fits in general.

    Raises:
        ConfigError: The candidate lacks members of the interface; the message names them.
    """
    missing = missing_members(candidate, interface)
    if missing:
        need = NEEDS.get(interface, _Need(f"what fits {interface.__name__}", "choose something that has these members"))
        lacking = "there is none" if candidate is None else f"{type(candidate).__name__} lacks {', '.join(missing)}"
        advice = remedy or f"Remove it, or {need.advice}"
        if candidate is not None and interface in (DataModule, DescribedData):
            advice += ". `lightning_gvae.datamodules.own.as_datamodule` makes one of any LightningDataModule"
        raise ConfigError(f"{who} needs {need.words}; {lacking}. {advice}.")
    return candidate  # type: ignore[return-value]
