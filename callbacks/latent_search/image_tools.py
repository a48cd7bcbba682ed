"""Tools for goals on images, made of a trained model and its data: classifier, critic, aggregate posterior."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.subject import Posteriors, Subject
from lightning_gvae.interfaces import DataModule, EncodesLatents, HasDiscriminator, Network, require
from lightning_gvae.metrics.fidelity.domain import Classifier, DomainSettings, LabelledImages, domain_space
from lightning_gvae.problems.images import Measure
from lightning_gvae.rng import torch_stream

__all__ = ["ModelTools"]

CLASSIFIER_IMAGES = 60_000  # at most, to train the classifier
REFERENCES = 10_000  # training images that novelty and the bounds look at
PIECE = 64  # images at once on a CPU: more would leave the cache


class ModelTools:
    """Tools of one model and its data module, each made when it is first asked for.

    Args:
        model: The model.
        datamodule: Set up.
        cache_dir: Where trained classifiers are kept; None keeps none.
        seed: Of the classifier and of the choice of images.
    """

    def __init__(
        self, model: Network, datamodule: DataModule | None, cache_dir: str | Path | None = None, seed: int = 0
    ) -> None:
        self.model, self._datamodule, self.seed = model, datamodule, seed
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._posteriors: Posteriors | None = None

    @property
    def data(self) -> DataModule:
        """The data module.

        Raises:
            ConfigError: There is none.
        """
        remedy = "Give one, or bounds and a problem of your own"
        return require(self._datamodule, DataModule, "a goal for images or `bounds=auto`", remedy)

    @cached_property
    def _subject(self) -> Subject:
        return Subject(self.model, self.data, self.seed)

    def classifier(self) -> Measure:
        """The classifier of the feature space ``domain``, trained on the data's training images.

        Raises:
            ConfigError: The data have no labels.
        """
        spec = self.data.spec
        if spec.num_classes is None:
            raise ConfigError(
                f"`class_probability` needs labelled images to learn a classifier from, and {spec.name} has no labels; "
                "choose another objective or other data"
            )
        train = LabelledImages(*self._subject.images(self.data.train_set, CLASSIFIER_IMAGES, "classifier"))
        test = LabelledImages(*self._subject.images(self.data.test_set, None, "classifier"))
        settings = DomainSettings(seed=self.seed)
        space = domain_space(
            spec.name, train, test, cache_dir=self.cache_dir, settings=settings, device=self.model.device
        )
        return _logits(space.net)

    def critic(self) -> Measure:
        """The logit of the model's discriminator.

        Raises:
            ConfigError: It has none.
        """
        remedy = "Take model=vae_gan, or the criterion typicality instead"
        model = require(self.model, HasDiscriminator, "`realism`", remedy)
        return lambda images: model.judge(images)[1]

    def typicality(self) -> Measure:
        """Squared Mahalanobis distance of an image's posterior mean from those of training images, over latents."""
        model = require(self.model, EncodesLatents, "`typicality`", "Choose another criterion, or a VAE")
        means = self.posteriors().means.double()
        centre, spread = means.mean(0), torch.cov(means.T).reshape(means.shape[1], means.shape[1])
        # A latent that the model ignores has next to no spread; a floor keeps it from deciding everything.
        precision = torch.linalg.inv(spread + 1e-4 * torch.eye(len(spread), dtype=spread.dtype))

        def distance(images: Tensor) -> Tensor:
            mean = model.encode(images)[0].double().cpu() - centre
            return ((mean @ precision) * mean).mean(1).float().to(images.device)

        return distance

    def training_images(self) -> Tensor:
        """Up to 10,000 training images in [0, 1], on the model's device."""
        images, _ = self._subject.images(self.data.train_set, REFERENCES, "references")
        return torch.from_numpy(images).to(self.model.device).float() / 255

    def target_image(self, number: int) -> Tensor:
        """Test image ``number`` in [0, 1].

        Raises:
            ConfigError: There are not as many.
        """
        part = self.data.test_set
        if not 0 <= number < len(part):
            raise ConfigError(f"`target` must be a test image of 0..{len(part) - 1}, got {number}")
        return part.batch(np.array([number]))[0][0].to(self.model.device).float() / 255

    def aggregate_posterior(self) -> Tensor:
        """A draw from the posterior of each of up to 10,000 training points, ``(N, L)``."""
        found = self.posteriors()
        noise = torch.randn(found.means.shape, generator=torch_stream(self.seed, "latent_archive/posterior"))
        return found.means.cpu() + (0.5 * found.log_vars.cpu()).exp() * noise

    def posteriors(self) -> Posteriors:
        """Posteriors of up to 10,000 training points."""
        if self._posteriors is None:
            self._posteriors = self._subject.posteriors(self.data.train_set, REFERENCES, "latent_search")
        return self._posteriors


def _logits(net: Classifier) -> Measure:
    def logits(images: Tensor) -> Tensor:
        parts = images.split(PIECE if images.device.type == "cpu" else max(len(images), 1))
        return torch.cat([net(255 * part)[1] for part in parts])  # it was trained on grey values 0..255

    return logits
