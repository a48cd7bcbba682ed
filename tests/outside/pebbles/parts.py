"""A likelihood, a score, an objective and a criterion of a latent search, and a callback."""

import math
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.losses.elbo import Likelihood


class LaplaceLikelihood(Likelihood):
    """Laplace-distributed pixels around ``sigmoid(output)``."""

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, output: Tensor, images: Tensor) -> Tensor:
        distance = (self.mean(output) - images).abs().flatten(1)
        return (distance / self.scale + math.log(2 * self.scale)).sum(1)


@dataclass
class Brightness:
    """Mean of sampled pixels, and of test images."""

    count: int = 64

    def __call__(self, subject: Subject) -> dict[str, float]:
        samples = torch.cat(list(subject.samples(self.count, "prior")))
        images, _ = subject.images(subject.data.test_set, self.count, "brightness")
        return {"samples": float(samples.mean()), "real": float(images.mean()) / 255}


def darkness(images: Tensor) -> Tensor:
    """What is minimised: the mean of the pixels."""
    return images.flatten(1).mean(1)


class Darkness:
    """The same as a class, which a configuration can name with settings."""

    def __call__(self, images: Tensor) -> Tensor:
        return darkness(images)


@dataclass(frozen=True)
class Visible:
    """Violated by as much as the brightest pixel is below ``least``."""

    least: float = 0.3

    def __call__(self, images: Tensor) -> Tensor:
        return (self.least - images.flatten(1).amax(1)).clamp(min=0)


class Tally(L.Callback):
    """Logs how many images have been trained on."""

    def __init__(self, every: int = 2) -> None:
        self.every, self.images = every, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.images += len(batch[0])
        if (batch_idx + 1) % self.every == 0:
            pl_module.log("tally/images", float(self.images))
