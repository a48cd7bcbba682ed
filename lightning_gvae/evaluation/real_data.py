"""A data set as the metrics see it: images at chosen positions, batch by batch."""

import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.errors import GvaeError, ScoreUnavailable
from lightning_gvae.interfaces import DataFacts, DataModule, DataSource
from lightning_gvae.rng import numpy_stream

__all__ = ["RealData"]

T = TypeVar("T")


class RealData:
    """Hands out images of a data module.

    Args:
        datamodule: Set up.
        seed: Seed of all draws.
        batch_size: Images at once.
        device: Where networks that look at the images run.
    """

    def __init__(
        self, datamodule: DataModule, seed: int = 0, batch_size: int = 512, device: torch.device | str = "cpu"
    ) -> None:
        self.data, self.seed, self.batch_size = datamodule, seed, batch_size
        self._device = torch.device(device)
        self._known: dict[Any, Any] = {}

    @property
    def device(self) -> torch.device:
        """Device of networks that look at the images."""
        return self._device

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
    def spec(self) -> DataFacts:
        """Facts of the data module about its data."""
        return self.data.spec

    @property
    def grid(self) -> DataSource:
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

    def positions(self, part: DataSource, count: int | None, tag: str) -> npt.NDArray[np.int64]:
        """``count`` positions of a part drawn without replacement, in order; None is all."""
        if count is None or count >= len(part):
            return np.arange(len(part))
        return np.sort(numpy_stream(self.seed, f"evaluation/{tag}").permutation(len(part))[:count])

    def batches(self, part: DataSource, positions: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 and targets at the positions, batch by batch, on the CPU."""
        for start in range(0, len(positions), self.batch_size):
            images, targets = part.batch(positions[start : start + self.batch_size])
            yield images.cpu(), targets.cpu()

    def images(
        self, part: DataSource, count: int | None, tag: str
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Images uint8 ``(N, C, H, W)`` and targets of a part."""
        images, targets = zip(*self.batches(part, self.positions(part, count, tag)), strict=True)
        return torch.cat(images).numpy(), torch.cat(targets).numpy()

    def baseline(self, count: int, name: str) -> Iterator[Tensor]:
        """``count`` images uint8 or in [0, 1], batch by batch, that stand in for samples of a model.

        Args:
            count: Number of images.
            name: ``training_images``, drawn without replacement, or ``mean_image``, always the same.
        """
        part = self.data.train_set
        if name == "training_images":
            yield from (images for images, _ in self.batches(part, self.positions(part, count, name)))
            return
        total = sum(images.double().sum(0) for images, _ in self.batches(part, np.arange(len(part))))
        mean = (torch.as_tensor(total) / (255 * len(part))).float()
        for start in range(0, count, self.batch_size):
            yield mean.expand(min(self.batch_size, count - start), *mean.shape)
