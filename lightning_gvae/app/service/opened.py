"""A trained model, opened, with what was computed from its data so far."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.evaluation.feature_cache import domain_of
from lightning_gvae.evaluation.subject import Posteriors, Subject
from lightning_gvae.interfaces import (
    DecodesNoise,
    GenerativeModel,
    HasDecoder,
    HasPosterior,
    HasPrior,
    LoadableData,
    Model,
    encodes,
    offers,
)
from lightning_gvae.metrics.fidelity.domain import DomainSpace
from lightning_gvae.samplers import Sampler, make_sampler

__all__ = ["LabModel", "Opened", "as_bytes"]

T = TypeVar("T")

POSTERIORS = 5000  # images a sampler is fitted to
BATCH = 256  # images decoded at once
SEED = 0  # of fits that every visitor shares


class LabModel(GenerativeModel, DecodesNoise, HasDecoder, Protocol):
    """Model that the lab can show."""


class Opened:
    """A model in evaluation mode, and its data, loaded when they are first needed.

    Everything here is shared by all visitors and computed once: only what depends on the checkpoint alone belongs here.

    Args:
        label: Name to show.
        config: The run's configuration.
        model: A :class:`LabModel` of images.
        datamodule: Not set up.
        cache_dir: Folder where classifiers are kept; None keeps nothing.
        withheld: Why the data may not be read; None if they may.

    Raises:
        CheckpointError: The model does not make images from latents.
    """

    def __init__(
        self,
        label: str,
        config: dict[str, Any],
        model: Model,
        datamodule: LoadableData,
        cache_dir: str | Path | None = None,
        withheld: str | None = None,
    ) -> None:
        self.label, self.config, self.cache_dir, self._withheld = label, config, cache_dir, withheld
        self._datamodule = datamodule
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._known: dict[Hashable, Any] = {}
        kind, shape = type(model).__name__, tuple(model.image_shape)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise CheckpointError(
                f"{label} holds a {kind} of data of shape {shape}, and the lab shows images of 1 or 3 channels; choose "
                "a model of images."
            )
        if not offers(model, LabModel):
            raise CheckpointError(
                f"{label} holds a {kind}, which has no distribution over its codes and so makes no new images; choose "
                "a VAE, GAN or VAE-GAN."
            )
        self.model = model.eval().requires_grad_(False)

    @property
    def kind(self) -> str:
        """Class of the model."""
        return type(self.model).__name__

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        channels, height, width = self.model.image_shape
        return channels, height, width

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.model.latent_dim

    @property
    def data_name(self) -> str:
        """Name of the data set that it was trained on."""
        return self._datamodule.spec.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of its data; none if they have no labels."""
        spec = self._datamodule.spec
        return tuple(spec.class_names or map(str, range(spec.num_classes or 0)))

    @property
    def has_encoder(self) -> bool:
        """Whether images have latents; a GAN's have not."""
        return encodes(self.model)

    def encoder(self) -> HasPosterior:
        """The model, to look at images with.

        Raises:
            ConfigError: It is a GAN.
        """
        if not encodes(self.model):
            raise ConfigError(
                f"a {self.kind} has no encoder, so it cannot look at images; load a VAE or a VAE-GAN for this."
            )
        return self.model

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Result of ``make``, made at the first call with ``key``; others who want it wait meanwhile."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._known:
                self._known[key] = make()
            return self._known[key]

    @property
    def subject(self) -> Subject:
        """Model and data, loaded at the first call.

        Raises:
            DataError: The data set cannot be read any more.
        """
        return self.once("subject", self._loaded)

    def _loaded(self) -> Subject:
        if self._withheld is not None:
            raise DataError(f"{self._withheld}; sampling, seeds and breeding work without them.")
        try:
            self._datamodule.prepare_data()
            self._datamodule.setup()
        except (OSError, DataError, ConfigError) as error:
            raise DataError(
                f"this needs the images of {self.data_name}, which cannot be loaded ({error}); sampling, seeds and "
                "breeding work without them."
            ) from error
        return Subject(self.model, self._datamodule, SEED)

    def posteriors(self, count: int = POSTERIORS) -> Posteriors:
        """Posteriors of that many training images, the same ones for everybody."""
        self.encoder()
        subject = self.subject
        return self.once(
            ("posteriors", count), lambda: subject.posteriors(subject.data.train_set, count, "app/posteriors")
        )

    def sampler(self, name: str) -> Sampler:
        """The sampler of that name, fitted to posteriors of training images at the first call.

        Raises:
            ConfigError: There is no such sampler, or the model has no posteriors to fit it to.
        """

        def fitted() -> Sampler:
            sampler, found = make_sampler(name, self.latent_dim), self.posteriors()
            sampler.fit(found.means, found.log_vars, SEED)
            return sampler

        return self.once(("sampler", name), fitted)

    def classifier(self) -> DomainSpace:
        """The classifier of the data set, trained or read from the cache at the first call."""
        subject = self.subject
        cache = None if self.cache_dir is None else Path(self.cache_dir)
        return self.once("classifier", lambda: domain_of(subject, cache))

    def prior_latents(self, noise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Latents ``(N, Z)`` that the prior makes of standard normal noise ``(N, Z)``."""
        if not offers(self.model, HasPrior):  # a GAN: its latents are the noise
            return noise
        with torch.no_grad():
            latents = self.model.prior.from_noise(torch.from_numpy(noise).to(self.model.device))
        return latents.float().cpu().numpy()

    def decode(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Images uint8 ``(N, C, H, W)`` of latents ``(N, Z)``."""
        parts = []
        with torch.no_grad():
            for part in torch.from_numpy(np.ascontiguousarray(latents, np.float32)).split(BATCH):
                decoded = self.model.decode(part.to(self.model.device))
                parts.append(as_bytes(decoded))
        return np.concatenate(parts)

    def encode(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Means and log-variances ``(N, Z)`` of the posteriors of images uint8 ``(N, C, H, W)``."""
        model = self.encoder()
        with torch.no_grad():
            mean, log_var = model.encode(model.prepare(torch.from_numpy(np.array(images)).to(model.device)))
        return mean.cpu().numpy(), log_var.cpu().numpy()


def as_bytes(images: Tensor) -> npt.NDArray[np.uint8]:
    """Images in [0, 1] of any shape as uint8."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
