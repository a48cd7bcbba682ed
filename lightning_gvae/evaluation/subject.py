"""A model and its data as the metrics see them: posteriors, codes of factors, samples, real images."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.interfaces import (
    Autoencoder,
    DataModule,
    DataSource,
    DecodesLatents,
    DrawsSamples,
    EncodesLatents,
    HasLatentDim,
    Network,
    PreparesBatches,
    require,
)
from lightning_gvae.rng import torch_stream
from lightning_gvae.samplers import Sampler, make_sampler
from lightning_gvae.training.modes import inference_mode

__all__ = ["BASELINES", "Posteriors", "Subject"]

T = TypeVar("T")

BASELINES = ("reconstructions", "mean_image", "training_images")  # samplers without latents
FITTED_ON = 20_000  # posteriors a sampler is fitted to
MOST_KEPT = 2_000_000  # codes of a grid that are kept for the next score
CACHED_IMAGES = 64  # on a CPU: the first feature maps of more images leave the cache, and encoding takes twice as long


class Posteriors(NamedTuple):
    """Parameters of the posteriors of some images, and the images' targets.

    Args:
        means: ``(N, Z)`` on the CPU.
        log_vars: ``(N, Z)``.
        targets: int64 ``(N,)`` or ``(N, F)``.
    """

    means: Tensor
    log_vars: Tensor
    targets: npt.NDArray[np.int64]


class Subject(RealData):
    """Runs a model on images of its data module, in batches, without gradients, on the model's device.

    Args:
        model: A score asks only for what it needs.
        datamodule: Set up.
        seed: Seed of all draws.
        batch_size: Images at once.
    """

    def __init__(self, model: Network, datamodule: DataModule, seed: int = 0, batch_size: int = 512) -> None:
        super().__init__(datamodule, seed, batch_size)
        self.model = model

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self._as(HasLatentDim).latent_dim

    def inference_mode(self) -> AbstractContextManager[None]:
        """Context with the model in evaluation mode and without gradients; every module gets its own mode back."""
        return inference_mode(self.model)

    def posteriors(self, part: DataSource, count: int | None, tag: str) -> Posteriors:
        """Posteriors of ``count`` images of a part."""
        model, means, log_vars, labels = self._as(EncodesLatents), [], [], []
        with self.inference_mode():
            for images, targets in self.batches(part, self.positions(part, count, tag)):
                mean, log_var = self._encode(model, images)
                means.append(mean)
                log_vars.append(log_var)
                labels.append(targets)
        return Posteriors(torch.cat(means), torch.cat(log_vars), torch.cat(labels).numpy())

    def encode_factors(self, factors: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Posterior means ``(B, Z)`` of the images with given factor classes ``(B, F)``.

        Raises:
            ScoreUnavailable: The data set has not one image for every combination of factors.
        """
        grid = self.grid
        indices = np.ravel_multi_index(tuple(np.moveaxis(factors, -1, 0)), self.spec.factor_sizes)
        if (images := len(grid)) > MOST_KEPT:
            return self._encode_grid(grid, indices)
        codes, known = self.once(
            "grid", lambda: (np.empty((images, self.latent_dim), dtype=np.float32), np.zeros(images, dtype=bool))
        )
        missing = np.unique(indices[~known[indices]])
        if len(missing):
            codes[missing], known[missing] = self._encode_grid(grid, missing), True
        return codes[indices]

    def _encode_grid(self, grid: DataSource, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        model, means = self._as(EncodesLatents), []
        with self.inference_mode():
            for start in range(0, len(indices), self.batch_size):
                images, _ = grid.batch(np.asarray(indices[start : start + self.batch_size]))
                means.append(self._encode(model, images)[0])
        return torch.cat(means).numpy()

    def sampler(self, name: str) -> Sampler:
        """The sampler of that name, fitted to training posteriors at the first call."""

        def fitted() -> Sampler:
            sampler = make_sampler(name, self.latent_dim)
            if name == "prior":  # nothing to fit, and a GAN has no posteriors
                return sampler
            fitted_on = self.once("fitted on", lambda: self.posteriors(self.data.train_set, FITTED_ON, "sampler"))
            sampler.fit(fitted_on.means, fitted_on.log_vars, self.seed)
            return sampler

        return self.once(("sampler", name), fitted)

    def samples(self, count: int, sampler: str) -> Iterator[Tensor]:
        """``count`` samples in [0, 1] or uint8, batch by batch, on the CPU.

        ``"reconstructions"`` are those of test images; ``"training_images"``, drawn without replacement, and
        ``"mean_image"``, always the same, are baselines that need no model.
        """
        if sampler in ("training_images", "mean_image"):
            yield from self.baseline(count, sampler)
            return
        if sampler == "reconstructions":
            autoencoder = self._as(Autoencoder)
            for images, _ in self.batches(self.data.test_set, self.positions(self.data.test_set, count, "real")):
                with self.inference_mode():
                    reconstructed = autoencoder.reconstruct(self._prepared(autoencoder, images))
                yield reconstructed.cpu()
            return
        if sampler == "prior":  # the model's own, which may be learnt
            model = self._as(DrawsSamples)
            stream = torch_stream(self.seed, "evaluation/prior", device=self.model.device)
            for start in range(0, count, self.batch_size):
                with self.inference_mode():
                    sampled = model.sample(min(self.batch_size, count - start), stream)
                yield sampled.cpu()
            return
        decodes = self._as(DecodesLatents)
        fitted, generator = self.sampler(sampler), torch_stream(self.seed, f"evaluation/{sampler}")
        for start in range(0, count, self.batch_size):
            latents = fitted.sample(min(self.batch_size, count - start), generator)
            with self.inference_mode():
                decoded = decodes.decode(latents.to(self.model.device, torch.float32))
            yield decoded.cpu()

    def _encode(self, model: EncodesLatents, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances ``(B, Z)`` on the CPU."""
        parts = images.split(CACHED_IMAGES if self.device.type == "cpu" else self.batch_size)
        means, log_vars = zip(*(model.encode(self._prepared(model, part)) for part in parts), strict=True)
        return torch.cat(means).cpu(), torch.cat(log_vars).cpu()

    def _prepared(self, model: PreparesBatches, images: Tensor) -> Tensor:
        return model.prepare(images.to(self.device))

    def _as(self, interface: type[T]) -> T:
        return require(self.model, interface, "a score", "Leave it out, or choose another model")
