"""What the tests of GAN and VAE-GAN share: small nets, noise that belongs to the image, quiet trainers."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lightning_gvae.models.adversary import VAEGANAdversary
from lightning_gvae.models.gan import GAN
from lightning_gvae.models.vae_gan import VAEGAN, Draws
from lightning_gvae.rng import torch_stream

SHAPE = (1, 8, 8)
Z = 4
ADVERSARY = {field.name for field in fields(VAEGANAdversary)}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


def nets() -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder with group normalisation."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.GroupNorm(4, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2 * Z)
    )
    decoder = nn.Sequential(nn.Linear(Z, 32), nn.GroupNorm(4, 32), nn.ReLU(), nn.Linear(32, 64), nn.Unflatten(1, SHAPE))
    return encoder, decoder


def noise_of(images: Tensor, tag: str) -> Tensor:
    """Numbers ``(B, Z)`` that are a function of the image alone, wherever in a batch or on whatever rank it is."""
    mixing = torch.randn(64, Z, generator=torch_stream(0, tag))
    return 1.5 * torch.sin(9 * images.flatten(1).double() @ mixing.double()).float()


class FixedVAEGAN(VAEGAN):
    def latent_draws(self, images: Tensor, *counters: int) -> Draws:
        return Draws(noise_of(images, "posterior"), noise_of(images, "prior"))


class FixedGAN(GAN):
    def latent_draws(self, images: Tensor, *counters: int) -> Tensor:
        return noise_of(images, "prior")


def vae_gan(kind: type[VAEGAN] = FixedVAEGAN, **settings: Any) -> VAEGAN:
    """A small VAE-GAN; settings of the adversary may stand beside those of the model."""
    torch.manual_seed(0)
    settings = {"optimizer": sgd, "gamma": 0.1, **settings, "adversary": adversary(settings)}
    return kind(SHAPE, latent_dim=Z, network=nets(), **_of_model(settings))


def gan(kind: type[GAN] = FixedGAN, **settings: Any) -> GAN:
    """A small GAN; settings of the adversary may stand beside those of the model."""
    torch.manual_seed(0)
    settings = {"optimizer": sgd, **settings, "adversary": adversary(settings)}
    return kind(SHAPE, latent_dim=Z, network=nets()[1], **_of_model(settings))


def adversary(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are an adversary's, with group normalisation by default."""
    return {"norm": "group"} | {name: settings[name] for name in ADVERSARY & settings.keys()}


def _of_model(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in ADVERSARY}


def quiet_trainer(folder: Path, steps: int, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    settings = {
        "logger": False,
        "log_every_n_steps": 7,
        "max_epochs": -1,
        "val_check_interval": 15,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": any("Checkpoint" in type(callback).__name__ for callback in callbacks),
    } | settings
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
