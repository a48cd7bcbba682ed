"""Feature spaces, and the features of a set of images in one of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.fidelity.images import as_uint8

__all__ = ["FeatureSpace", "Features", "Images", "SpaceId", "batches", "extract_features", "require_same_space"]

Images = Tensor | npt.NDArray[np.uint8] | Iterable[Tensor]


@dataclass(frozen=True)
class SpaceId:
    """Identity of a feature space.

    Args:
        name: Name in the scores, for example ``"domain"``.
        dims: D.
        classes: K of the logits; None without logits, then there is no inception score.
        fingerprint: Hash of the weights; spaces of one name but other weights are other spaces.
        trained_on: Data set of the network.
        accuracy: Its test accuracy there, where we measured it ourselves, in 0..1.
    """

    name: str
    dims: int
    classes: int | None
    fingerprint: str
    trained_on: str = ""
    accuracy: float | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:8]})"


class FeatureSpace(ABC):
    """A frozen network that turns images into features.

    Args:
        space: What it is.
        device: Where it runs; features always come back to the CPU.
    """

    def __init__(self, space: SpaceId, device: torch.device | str = "cpu") -> None:
        self.space = space
        self.device = torch.device(device)

    @property
    def name(self) -> str:
        """Name in the scores."""
        return self.space.name

    @property
    def dims(self) -> int:
        """D."""
        return self.space.dims

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, D)`` fp32 of ``images``; see :meth:`extract`."""
        return self.extract(images)[0]

    @torch.no_grad()
    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features ``(B, D)`` and logits ``(B, K)``, or None, both fp32 on the CPU.

        Args:
            images: uint8 or float in 0..1, ``(B, C, H, W)``, grey or RGB.

        Raises:
            DataError: ``images`` are not images (see :func:`~.images.as_uint8`), or a feature is not finite.
        """
        features, logits = self._run(as_uint8(images).to(self.device))
        if not features.isfinite().all():
            raise DataError(
                f"features of the space {self.space} must be finite; its weights are damaged, get them anew"
            )
        return features.float().cpu(), None if logits is None else logits.float().cpu()

    @abstractmethod
    def _run(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and logits of uint8 images on the space's device."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a set of images.

    Args:
        values: fp32 ``(N, D)``.
        logits: fp32 ``(N, K)``, or None.
        space: Where they lie.

    Raises:
        DataError: Their shape does not fit the space, or one is not finite.
    """

    values: Tensor
    logits: Tensor | None
    space: SpaceId

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.space.dims or not len(self.values):
            raise DataError(
                f"features of the space {self.space} must be of shape (N, {self.space.dims}), got"
                f" {tuple(self.values.shape)}"
            )
        for tensor in (self.values, self.logits):
            if tensor is not None and not tensor.isfinite().all():
                raise DataError(f"features and logits of the space {self.space} must be finite, found NaN or infinity")

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> "Features":
        """The features of some of the images."""
        index = torch.from_numpy(rows)
        return Features(self.values[index], None if self.logits is None else self.logits[index], self.space)


def batches(images: Images, batch_size: int) -> Iterator[Tensor]:
    """Batches of an array (a memory-mapped one is read piece by piece) or tensor; what is in batches passes through."""
    if batch_size < 1:
        raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}")
    if isinstance(images, Tensor):
        yield from images.split(batch_size)
    elif isinstance(images, np.ndarray):
        for start in range(0, len(images), batch_size):
            yield torch.from_numpy(np.array(images[start : start + batch_size]))  # a copy, for a map is read-only
    else:
        yield from images


def extract_features(space: FeatureSpace, images: Images, batch_size: int = 64) -> Features:
    """Features of a set of images, all in memory: N times D times 4 bytes, 82 MB for 10 000 images of 2048 dimensions.

    Args:
        space: Where.
        images: An array or tensor ``(N, C, H, W)``, or batches of them, for example from a model that samples.
        batch_size: Images at once, for an array or tensor.

    Raises:
        DataError: There is no image, or as for :meth:`FeatureSpace.extract`.
    """
    parts = [space.extract(batch) for batch in batches(images, batch_size)]
    if not parts:
        raise DataError(f"there must be at least one image to find its features in the space {space.space}, got none")
    logits = [logit for _, logit in parts if logit is not None]
    return Features(torch.cat([values for values, _ in parts]), torch.cat(logits) if logits else None, space.space)


def require_same_space(first: SpaceId, second: SpaceId) -> None:
    """Check that two sets can be compared.

    Raises:
        ConfigError: Names or weights differ.
    """
    if (first.name, first.fingerprint) != (second.name, second.fingerprint):
        raise ConfigError(
            f"features of the spaces {first} and {second} cannot be compared; extract both sets with the same space and"
            " the same weights"
        )
