"""Interfaces: models and data modules of this package fit, and a candidate that does not is told what it lacks."""

import pytest
import torch

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import (
    DataModule,
    EvolvableModel,
    GenerativeModel,
    GenomeModel,
    HasPosterior,
    TextModel,
    encodes,
    missing_members,
    require,
)
from lightning_gvae.models import GAN, VAE, VAEGAN, ConvVAE, TextVAE

SHAPE = (1, 8, 8)


@pytest.mark.parametrize(
    ("build", "interface"),
    [
        (lambda: VAE(SHAPE), EvolvableModel),
        (lambda: VAE(SHAPE, prior="realnvp"), HasPosterior),
        (lambda: VAEGAN(SHAPE), EvolvableModel),
        (lambda: GAN(SHAPE), GenerativeModel),
        (lambda: ConvVAE((1, 28, 28)), GenomeModel),
        (lambda: DigitsDataModule(), DataModule),
    ],
    ids=["vae", "learnt prior", "vae-gan", "gan", "conv vae", "digits"],
)
def test_what_this_package_has_fits_its_interface(build, interface):
    candidate = build()
    if interface is DataModule:
        candidate.setup()
    assert missing_members(candidate, interface) == []
    assert require(candidate, interface, "this test") is candidate


def test_text_models_fit():
    made_by_init = {"image_shape", "latent_dim", "training"}
    assert set(missing_members(TextVAE, TextModel)) == made_by_init


def test_whether_a_model_encodes():
    assert encodes(VAE(SHAPE)) and not encodes(GAN(SHAPE))


def test_a_stranger_is_told_what_it_lacks():
    class Own(torch.nn.Module):
        latent_dim = 2

        def decode(self, latents):
            return latents

    with pytest.raises(ConfigError, match=r"Figures needs a model with posteriors; Own lacks .*encode, .*sample"):
        require(Own(), HasPosterior, "Figures")
    with pytest.raises(ConfigError, match="Probes needs a data module in three parts; there is none"):
        require(None, DataModule, "Probes")
