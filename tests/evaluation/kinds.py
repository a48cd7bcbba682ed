"""Small data of every kind and models of every family, for tests that go through all pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.datamodules.criterion import CriterionDataModule
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.models import GAN, VAE, VAEGAN, ConvAutoencoder, ConvVAE, SolveVAE, TextLM, TextVAE
from lightning_gvae.rng import numpy_stream
from tests.datamodules.pictures import write
from tests.datamodules.sentences import write_corpus

GENOME = Genome((Block(filters=4, pool=1),), "adam", 3e-3, "robust")
SIZES = (3, 4)
GRID = np.stack(np.unravel_index(np.arange(12), SIZES), axis=1)


class Arrays(ImageDataModule):
    """Images in memory."""

    def __init__(self, spec, images, targets, val_size=3, test_size=4):
        super().__init__(spec, val_size, test_size)
        self.arrays = ImageArrays(images, targets)

    def load(self):
        return self.arrays, None


def noise(count, channels=1):
    return numpy_stream(0, "test/noise").integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)


def folder(root, of):
    for number in range(12):
        write(root / of(number) / f"{number:02d}.png", number)
    labels = "folders" if of(0) else "none"
    options = {"labels": labels, "val_size": 3, "test_size": 4, "cache_dir": root.parent / "cache", "name": root.name}
    return ImageFolderDataModule(root, image_size=16, **options)


def attributes(root):
    targets = numpy_stream(0, "test/attributes").integers(0, 2, (60, 3))
    targets[:, 2] = 1  # one that all images have
    spec = DataSpec("attributes", (1, 8, 8), factor_names=("a", "b", "c"), factor_sizes=(2, 2, 2))
    return Arrays(spec, noise(60), targets, 5, 30)


def grid(root, sizes=SIZES):
    spec = DataSpec("grid", (1, 8, 8), factor_names=("a", "b"), factor_sizes=sizes, is_grid=True)
    return Arrays(spec, noise(12), GRID)


def equal(root):
    images = np.full((500, 1, 8, 8), 7, np.uint8)
    return Arrays(DataSpec("equal", (1, 8, 8), num_classes=2), images, np.arange(500) % 2, 50, 200)


def rgba(root):
    return Arrays(DataSpec("rgba", (4, 8, 8), num_classes=2), noise(30, 4), np.arange(30) % 2, 5, 10)


def corpus(root):
    return TextDataModule(write_corpus(root), name="toy", max_length=20, cache_dir=root)


def points(root):
    return CriterionDataModule("c2", dims=2, n=40, val_size=5, test_size=10, cache_dir=root)


DATA = {
    "digits": lambda root: DigitsDataModule(),
    "folder of 12": lambda root: folder(root / "folder", lambda number: ""),
    "folder of 12 with labels": lambda root: folder(root / "labelled", lambda number: f"class{number % 2}"),
    "folder of one class": lambda root: folder(root / "one_class", lambda number: "class0"),
    "grid": grid,
    "grid with a gap": lambda root: grid(root, (3, 5)),
    "attributes": attributes,
    "four channels": rgba,
    "equal images": equal,
    "text": corpus,
    "points": points,
}


class BrokenDecoder(VAE):
    """A model whose images are not finite."""

    def decode(self, latents):
        return super().decode(latents) * float("nan")


class BrokenEncoder(VAE):
    """A model whose posteriors are not finite."""

    def encode(self, images):
        mean, log_var = super().encode(images)
        return mean * float("nan"), log_var


def built(model):
    model.configure_model()
    return model


Models = dict[str, Callable[[Any], L.LightningModule]]
IMAGE_MODELS: Models = {
    "vae": lambda shape: VAE(shape, latent_dim=3, network="mlp"),
    "one latent": lambda shape: VAE(shape, latent_dim=1, network="mlp"),
    "sigma_vae": lambda shape: VAE(shape, latent_dim=3, network="mlp", likelihood="optimal_sigma"),
    "realnvp": lambda shape: VAE(shape, latent_dim=3, network="mlp", prior="realnvp"),
    "gan": lambda shape: GAN(shape, latent_dim=3, network="mlp", adversary={"discriminator": "mlp"}),
    "vae_gan": lambda shape: VAEGAN(shape, latent_dim=3, network="mlp", adversary={"discriminator": "mlp"}),
    "conv_autoencoder": lambda shape: built(ConvAutoencoder(shape, GENOME.to_dict())),
    "conv_vae": lambda shape: built(ConvVAE(shape, GENOME.to_dict())),
    "broken decoder": lambda shape: BrokenDecoder(shape, latent_dim=3, network="mlp"),
    "broken encoder": lambda shape: BrokenEncoder(shape, latent_dim=3, network="mlp"),
}
TEXT_MODELS: Models = {
    "text_vae": lambda shape: TextVAE(shape, latent_dim=2, embedding=8, hidden=12),
    "text_lm": lambda shape: TextLM(shape, embedding=8, hidden=12),
}
POINT_MODELS: Models = {"solve_vae": lambda shape: SolveVAE(shape, candidates=2)}
PAIRS = [
    (data, model) for data in DATA for model in {"text": TEXT_MODELS, "points": POINT_MODELS}.get(data, IMAGE_MODELS)
]


def make_data(name: str, root: Path):
    """A data module, set up."""
    module = DATA[name](root)
    module.prepare_data()
    module.setup()
    return module


def make_model(name: str, data):
    """An untrained model for the data."""
    torch.manual_seed(0)
    model = {**IMAGE_MODELS, **TEXT_MODELS, **POINT_MODELS}[name](data.spec.image_shape)
    if name in TEXT_MODELS:
        model.vocabulary = data.vocabulary
    return model
