"""A model and its data as the metrics see them: posteriors, codes of factors, samples, real images."""

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.errors import GvaeError, ScoreUnavailable
from lightning_gvae.rng import numpy_stream, torch_stream
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


class Subject:
    """Runs a model on images of its data module, in batches, without gradients, on the model's device.

    Args:
        model: With ``encode``, ``decode``, ``prepare``, ``sample``, ``log_likelihood``, ``log_prior_ratio`` and
            ``latent_dim``; a score calls only those that it needs.
        datamodule: With ``spec``, ``train_set`` and ``test_set``, set up.
        seed: Seed of all draws.
        batch_size: Images at once.
    """

    def __init__(self, model: Any, datamodule: Any, seed: int = 0, batch_size: int = 512) -> None:
        self.model, self.data, self.seed, self.batch_size = model, datamodule, seed, batch_size
        self._known: dict[Any, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Result of ``make``, made at the first call with ``key``: scores share codes, samplers and features.

        If it cannot be had, the first call's error is raised again: weights that are missing are looked for once.
        """
        if key not in self._known:
            try:
                self._known[key] = make()
            except GvaeError as error:
                self._known[key] = error
                raise
        known: T | GvaeError = self._known[key]
        if isinstance(known, GvaeError):
            raise known.with_traceback(None)
        return known

    @property
    def spec(self) -> Any:
        """Facts of the data module about its data."""
        return self.data.spec

    def inference_mode(self) -> AbstractContextManager[None]:
        """Context with the model in evaluation mode and without gradients; every module gets its own mode back."""
        return inference_mode(self.model)

    @property
    def grid(self) -> Any:
        """All images of a data set that has one for every combination of factors, to be used like a part of it.

        Raises:
            ScoreUnavailable: It has not.
        """
        source, sizes = self.data.train_set.source, self.spec.factor_sizes
        if not self.spec.is_grid or len(source) != math.prod(sizes):
            raise ScoreUnavailable(
                f"{self.spec.name} has not one image for every combination of factors, which this score draws; take "
                "data=dsprites"
            )
        return source

    def positions(self, part: Any, count: int | None, tag: str) -> npt.NDArray[np.int64]:
        """``count`` positions of a part drawn without replacement, in order; None is all."""
        if count is None or count >= len(part):
            return np.arange(len(part))
        return np.sort(numpy_stream(self.seed, f"evaluation/{tag}").permutation(len(part))[:count])

    def batches(self, part: Any, positions: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 and targets at the positions, batch by batch, on the CPU."""
        for start in range(0, len(positions), self.batch_size):
            images, targets = part.batch(positions[start : start + self.batch_size])
            yield images.cpu(), targets.cpu()

    def images(self, part: Any, count: int | None, tag: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Images uint8 ``(N, C, H, W)`` and targets of a part."""
        images, targets = zip(*self.batches(part, self.positions(part, count, tag)), strict=True)
        return torch.cat(images).numpy(), torch.cat(targets).numpy()

    def posteriors(self, part: Any, count: int | None, tag: str) -> Posteriors:
        """Posteriors of ``count`` images of a part."""
        means, log_vars, labels = [], [], []
        with self.inference_mode():
            for images, targets in self.batches(part, self.positions(part, count, tag)):
                mean, log_var = self._encode(images)
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
            "grid", lambda: (np.empty((images, self.model.latent_dim), dtype=np.float32), np.zeros(images, dtype=bool))
        )
        missing = np.unique(indices[~known[indices]])
        if len(missing):
            codes[missing], known[missing] = self._encode_grid(grid, missing), True
        return codes[indices]

    def _encode_grid(self, grid: Any, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        means = []
        with self.inference_mode():
            for start in range(0, len(indices), self.batch_size):
                images, _ = grid.batch(np.asarray(indices[start : start + self.batch_size]))
                means.append(self._encode(images)[0])
        return torch.cat(means).numpy()

    def sampler(self, name: str) -> Sampler:
        """The sampler of that name, fitted to training posteriors at the first call."""

        def fitted() -> Sampler:
            sampler = make_sampler(name, self.model.latent_dim)
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
            yield from self._baseline(count, sampler)
            return
        if sampler == "reconstructions":
            for images, _ in self.batches(self.data.test_set, self.positions(self.data.test_set, count, "real")):
                with self.inference_mode():
                    reconstructed = self.model.reconstruct(self._prepared(images))
                yield reconstructed.cpu()
            return
        if sampler == "prior":  # the model's own, which may be learnt
            stream = torch_stream(self.seed, "evaluation/prior", device=self.model.device)
            for start in range(0, count, self.batch_size):
                with self.inference_mode():
                    sampled = self.model.sample(min(self.batch_size, count - start), stream)
                yield sampled.cpu()
            return
        fitted, generator = self.sampler(sampler), torch_stream(self.seed, f"evaluation/{sampler}")
        for start in range(0, count, self.batch_size):
            latents = fitted.sample(min(self.batch_size, count - start), generator)
            with self.inference_mode():
                decoded = self.model.decode(latents.to(self.model.device, torch.float32))
            yield decoded.cpu()

    def _baseline(self, count: int, name: str) -> Iterator[Tensor]:
        part = self.data.train_set
        if name == "training_images":
            yield from (images for images, _ in self.batches(part, self.positions(part, count, name)))
            return
        total = sum(images.double().sum(0) for images, _ in self.batches(part, np.arange(len(part))))
        mean = (torch.as_tensor(total) / (255 * len(part))).float()
        for start in range(0, count, self.batch_size):
            yield mean.expand(min(self.batch_size, count - start), *mean.shape)

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances ``(B, Z)`` on the CPU."""
        parts = images.split(CACHED_IMAGES if self.model.device.type == "cpu" else self.batch_size)
        means, log_vars = zip(*(self.model.encode(self._prepared(part)) for part in parts), strict=True)
        return torch.cat(means).cpu(), torch.cat(log_vars).cpu()

    def _prepared(self, images: Tensor) -> Tensor:
        return self.model.prepare(images.to(self.model.device))
