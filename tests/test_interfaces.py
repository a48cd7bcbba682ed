"""Interfaces: models and data modules of this package fit, and a candidate that does not is told what it lacks."""

import inspect
from types import SimpleNamespace
from typing import Any, Generic, Protocol, TypeVar

import pytest
import torch

from lightning_gvae import interfaces
from lightning_gvae.datamodules.base import DataSpec, ImageDataModule
from lightning_gvae.datamodules.batches import Split
from lightning_gvae.datamodules.criterion import CriterionDataModule
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.text import TextDataModule
from lightning_gvae.datamodules.text.batches import TextSplit
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import (
    Autoencoder,
    CheckpointedModel,
    ComparableData,
    ConditionedModel,
    CriterionData,
    DataFacts,
    DataModule,
    DataPart,
    DeclaresTerms,
    DescribedData,
    EvolvableModel,
    GenerativeModel,
    GenomeModel,
    HasBeta,
    HasDecoder,
    HasDiscriminator,
    HasLikelihood,
    HasPosterior,
    HasPrior,
    HasSchedule,
    HasStatistics,
    HasVocabulary,
    LoadableData,
    NamesOptimizer,
    RestorableData,
    ResumableData,
    TextModel,
    TextPart,
    encodes,
    missing_members,
    offers,
    require,
)
from lightning_gvae.models import GAN, VAE, VAEGAN, ConvAutoencoder, ConvVAE, MultiRateVAE, SolveVAE, TextLM, TextVAE

SHAPE = (1, 8, 8)
T = TypeVar("T")


class Each(Generic[T]):
    """Takes candidates of a type."""

    def __init__(self, *candidates: T) -> None: ...


def _fit_by_type(
    vae: VAE,
    vae_gan: VAEGAN,
    gan: GAN,
    text: TextVAE,
    multi_rate: MultiRateVAE,
    conv_vae: ConvVAE,
    plain: ConvAutoencoder,
    images: ImageDataModule,
    sentences: TextDataModule,
    points: CriterionDataModule,
    spec: DataSpec,
    part: Split,
    text_part: TextSplit,
) -> None:
    """For mypy alone, which compares arguments and results too: each class satisfies what it is used as."""
    Each[HasLikelihood](vae, vae_gan, text, conv_vae)
    Each[EvolvableModel](vae, vae_gan, text)
    Each[DeclaresTerms](vae, vae_gan, text)
    Each[HasSchedule](vae, vae_gan)
    Each[NamesOptimizer](vae_gan)
    Each[ConditionedModel](multi_rate)
    Each[HasPrior](vae, vae_gan)
    Each[GenerativeModel](vae, vae_gan, gan, text, conv_vae)
    Each[HasDecoder](vae, vae_gan, gan)
    Each[HasDiscriminator](vae_gan, gan)
    Each[TextModel](text)
    Each[GenomeModel](conv_vae, plain)
    Each[Autoencoder](vae, plain)
    Each[CheckpointedModel](vae, gan, plain, text)
    Each[LoadableData](images, sentences, points)
    Each[DescribedData](images, sentences, points)
    Each[DataFacts](spec, images.spec, sentences.spec)
    Each[DataPart](part, images.train_set, sentences.test_set)
    Each[TextPart](text_part, sentences.test_set)
    Each[CriterionData](points)
    Each[HasVocabulary](sentences)
    Each[HasStatistics](sentences)
    Each[RestorableData](images, sentences)
    Each[ResumableData](images, sentences)
    Each[ComparableData](images, sentences)


MADE: dict[str, Any] = {
    "vae": lambda: VAE(SHAPE),
    "learnt prior": lambda: VAE(SHAPE, prior="realnvp"),
    "vae-gan": lambda: VAEGAN(SHAPE),
    "gan": lambda: GAN(SHAPE),
    "conv vae": lambda: ConvVAE((1, 28, 28)),
    "autoencoder": lambda: ConvAutoencoder((1, 28, 28)),
    "solve": lambda: SolveVAE((2,)),
    "multi-rate": lambda: MultiRateVAE(SHAPE),
    "text": lambda: TextVAE((6, 10), embedding=4, hidden=4),
    "language": lambda: TextLM((6, 10), embedding=4, hidden=4),
    "digits": DigitsDataModule,
    "points": lambda: CriterionDataModule("c1", 2),
}
FITS = {
    HasLikelihood: ("vae", "learnt prior", "vae-gan", "conv vae", "solve", "multi-rate", "text", "language"),
    EvolvableModel: ("vae", "learnt prior", "vae-gan", "conv vae", "solve", "multi-rate", "text", "language"),
    HasBeta: ("vae", "learnt prior", "vae-gan", "conv vae", "solve", "multi-rate", "text", "language"),
    HasPrior: ("vae", "learnt prior", "vae-gan", "conv vae", "solve", "multi-rate", "text", "language"),
    GenerativeModel: ("vae", "learnt prior", "vae-gan", "gan", "conv vae", "solve", "multi-rate", "text", "language"),
    HasDiscriminator: ("vae-gan", "gan"),
    DeclaresTerms: ("vae", "learnt prior", "vae-gan", "conv vae", "solve", "multi-rate", "text", "language"),
    NamesOptimizer: ("vae-gan",),
    ConditionedModel: ("multi-rate",),
    TextModel: ("text", "language"),
    GenomeModel: ("conv vae", "autoencoder"),
    DataModule: ("digits", "points"),
    CriterionData: ("points",),
}


@pytest.fixture(scope="module")
def candidates():
    return {name: make() for name, make in MADE.items()}


@pytest.mark.parametrize("interface", FITS, ids=lambda interface: interface.__name__)
def test_what_this_package_has_fits_its_interfaces_and_nothing_else_does(candidates, interface):
    for name, candidate in candidates.items():
        fits = missing_members(candidate, interface) == []
        assert fits == offers(candidate, interface) == (name in FITS[interface]), name
        if fits:
            assert require(candidate, interface, "this test") is candidate


def test_whether_a_model_encodes(candidates):
    assert all(encodes(candidates[name]) for name in ("vae", "vae-gan", "conv vae", "solve", "text"))
    assert not any(encodes(candidates[name]) for name in ("gan", "language"))


def test_text_models_fit_before_they_are_made():
    assert set(missing_members(TextVAE, TextModel)) == {"image_shape", "latent_dim", "training"}  # made by `__init__`


def test_a_stranger_is_told_what_it_lacks():
    class Own(torch.nn.Module):
        latent_dim = 2

        def decode(self, latents):
            return latents

    with pytest.raises(ConfigError, match=r"Figures needs a model with posteriors; Own lacks .*encode, .*sample"):
        require(Own(), HasPosterior, "Figures")
    with pytest.raises(ConfigError, match=r"lacks .*sample\. Write a better one\.$"):
        require(Own(), HasPosterior, "Figures", "Write a better one")
    with pytest.raises(ConfigError, match="Probes needs a data module in three parts; there is none. Remove it, or"):
        require(None, DataModule, "Probes")


def test_a_method_that_is_none_is_missing_and_an_attribute_that_is_none_is_not():
    model = VAE(SHAPE)
    model.claim_beta = None
    assert model.schedule is None and missing_members(model, HasSchedule) == []
    assert missing_members(model, EvolvableModel) == ["claim_beta"]


def test_no_property_is_computed_to_find_out():
    data = DigitsDataModule()
    with pytest.raises(ConfigError, match="does not exist before"):
        _ = data.train_set
    assert missing_members(data, DataModule) == []


def test_interfaces_of_a_users_own_can_be_required():
    class HasColour(Protocol):
        colour: str

    with pytest.raises(ConfigError, match="this needs what fits HasColour; SimpleNamespace lacks colour"):
        require(SimpleNamespace(), HasColour, "this")


def test_every_interface_is_described_and_exported():
    for name in interfaces.__all__:
        found = getattr(interfaces, name)
        assert inspect.getdoc(found), name
