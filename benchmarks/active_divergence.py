"""Draws docs/images/active_divergence.png: the tools of lightning_gvae.divergence on MNIST and Fashion-MNIST.

    python -m benchmarks.active_divergence [folder of the data sets] [figure]

Two VAEs: one trained on MNIST, the other the same one trained further on Fashion-MNIST. Under a minute of a core.
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.datamodules.base import ImageDataModule
from lightning_gvae.datamodules.mnist import FashionMNISTDataModule, MNISTDataModule
from lightning_gvae.divergence.blending import blended
from lightning_gvae.divergence.chaining import chain
from lightning_gvae.divergence.fine_tuning import between_classes, fine_tuned
from lightning_gvae.divergence.latents import amplified, direction, path, truncated_normal
from lightning_gvae.metrics.fidelity.domain import Classifier, DomainSettings, LabelledImages, train_classifier
from lightning_gvae.models import VAE
from lightning_gvae.plots.images import contact_sheet
from lightning_gvae.plots.style import save
from lightning_gvae.rng import torch_stream

COLUMNS = 10
STEPS, FURTHER = 1200, 500
Rows = list[tuple[str, np.ndarray]]


def train(model: VAE, data: ImageDataModule, steps: int) -> VAE:
    """Some optimiser steps at beta 1."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader, step, epoch = data.train_dataloader(), 0, 0
    while step < steps:
        loader.set_epoch(epoch)
        for images, *_ in loader:
            terms = model.elbo_terms(model.prepare(images), torch_stream(0, "figure/noise", step))
            optimizer.zero_grad()
            (terms.recon + terms.kl).backward()
            optimizer.step()
            step += 1
            if step == steps:
                break
        epoch += 1
    return model.eval()


@torch.no_grad()
def drawn(model: VAE, latents: Tensor) -> np.ndarray:
    """Decoded images ``(N, C, H, W)``."""
    return model.decode(latents).numpy()


def classifier_of(data: ImageDataModule) -> Classifier:
    """Of the digits, to find what is none."""
    images, labels = data.train_set.batch(np.arange(20_000))
    return train_classifier(LabelledImages(images.numpy(), labels.numpy()), DomainSettings(epochs=1), 10)


def latent_rows(model: VAE, data: ImageDataModule) -> Rows:
    """Truncation, amplification, an attribute's direction, and a path that goes on."""
    prior = truncated_normal(COLUMNS, model.latent_dim, float("inf"))
    near = truncated_normal(COLUMNS, model.latent_dim, 0.5)
    images, labels = data.test_set.batch(np.arange(2000))
    with torch.no_grad():
        codes = model.encode(model.prepare(images))[0]
    bend = direction(codes[labels == 1], codes[labels == 7])
    ones = codes[labels == 1][0] + torch.linspace(-0.5, 2.0, COLUMNS)[:, None] * bend
    way = path(codes[labels == 3][0], codes[labels == 6][0], COLUMNS, beyond=0.8)
    return [
        ("prior cut at 0.5 sd", drawn(model, near)),
        ("prior", drawn(model, prior)),
        ("prior, amplified x 2", drawn(model, amplified(prior, 2.0))),
        ("direction 1 to 7", drawn(model, ones)),
        ("path 3 to 6 and beyond", drawn(model, way)),
    ]


def main(folder: Path, figure: Path) -> None:
    """Train, draw, save."""
    torch.manual_seed(0)
    digits, clothes = MNISTDataModule(folder / "mnist"), FashionMNISTDataModule(folder / "fashion_mnist")
    for data in (digits, clothes):
        data.setup()
    first = train(VAE((1, 28, 28), latent_dim=20, network="mlp"), digits, STEPS)
    second = train(copy.deepcopy(first), clothes, FURTHER)
    rows = latent_rows(first, digits)
    prior = truncated_normal(COLUMNS, first.latent_dim, 1.5, seed=1)
    for share in (0.4, 0.6):
        rows.append((f"blend, {share:g} of clothes", drawn(blended(first, second, share), prior)))
    rows.append(("first layers of clothes", drawn(blended(first, second, {"decoder.layers": 1.0}), prior)))
    images = first.prepare(digits.test_set.batch(np.arange(COLUMNS))[0])
    links = chain([second, first], images, 6, gain=1.2).images
    rows += [
        ("chain: digits go in", links[0].numpy()),
        ("after clothes", links[1].numpy()),
        ("after six", links[6].numpy()),
    ]
    verdict = classifier_of(digits)
    away = fine_tuned(first, between_classes(lambda x: verdict(x * 255)[1]), 150, learning_rate=5e-4, leash=1e-3)
    rows.append((f"between classes, {away.objective[-1]:.1f} nats", drawn(away.model, prior)))
    save(contact_sheet(rows, "Active divergence"), figure)
    print(
        f"entropy of the classifier: {away.objective[0]:.2f} -> {away.objective[-1]:.2f} nats; moved {away.moved:.1%}"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    data_folder = Path(arguments[0]) if arguments else Path("data")
    main(data_folder, Path(arguments[1]) if len(arguments) > 1 else Path("docs/images/active_divergence.png"))
