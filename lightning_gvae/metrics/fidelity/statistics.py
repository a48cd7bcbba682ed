"""Mean and covariance of features, streamed in fp64 and cached for the real images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.content import array_hash
from lightning_gvae.metrics.fidelity.features import Features, FeatureSpace, Images, SpaceId, batches
from lightning_gvae.metrics.fidelity.store import Stored, cached
from lightning_gvae.rng import numpy_stream

__all__ = ["MomentSums", "Moments", "moments_of", "moments_of_images", "real_moments"]

VERSION = 1  # of the cached file


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the features of a set of images.

    Args:
        mean: fp64 ``(D,)``.
        covariance: fp64 ``(D, D)``, divided by the count less one.
        count: Number of images.
        space: Where the features lie.
    """

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    count: int
    space: SpaceId


class MomentSums:
    """Adds up a mean and a covariance batch by batch, D squared numbers in memory however many images there are.

    Batches are merged around their own means, so that features far from zero lose no digits.

    Args:
        space: Where the features lie.

    References:
        Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1982.
    """

    def __init__(self, space: SpaceId) -> None:
        self.space, self.count = space, 0
        self.mean = torch.zeros(space.dims, dtype=torch.float64)
        self.scatter = torch.zeros(space.dims, space.dims, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Add features ``(B, D)``."""
        if not len(values):
            return
        values = values.double()
        mean, total = values.mean(0), self.count + len(values)
        centred, apart = values - mean, mean - self.mean
        self.scatter.addmm_(centred.T, centred)
        self.scatter.addr_(apart, apart, alpha=self.count * len(values) / total)
        self.mean += apart * (len(values) / total)
        self.count = total

    def result(self) -> Moments:
        """Moments of all that was added.

        Raises:
            ConfigError: Fewer images than dimensions plus one: the covariance would be singular.
        """
        dims = self.space.dims
        if self.count < dims + 1:
            raise ConfigError(
                f"the covariance of {dims} dimensions in the space {self.space.name} needs at least {dims + 1} images,"
                f" got {self.count}; take more, a smaller space (domain with 128 dimensions, inception-64,"
                " inception-192), or KID, which needs no covariance"
            )
        return Moments(self.mean.numpy().copy(), (self.scatter / (self.count - 1)).numpy(), self.count, self.space)


def moments_of(features: Features) -> Moments:
    """Mean and covariance of features in memory.

    Raises:
        ConfigError: Too few of them.
    """
    sums = MomentSums(features.space)
    for values in features.values.split(1024):
        sums.add(values)
    return sums.result()


def moments_of_images(space: FeatureSpace, images: Images, batch_size: int = 64) -> Moments:
    """Mean and covariance of the features of images, which are never in memory all at once.

    Args:
        space: Where.
        images: An array or tensor ``(N, C, H, W)``, or batches of them.
        batch_size: Images at once, for an array or tensor.

    Raises:
        ConfigError: Too few images.
        DataError: As for :meth:`~.features.FeatureSpace.extract`.
    """
    sums = MomentSums(space.space)
    for batch in batches(images, batch_size):
        sums.add(space.extract(batch)[0])
    return sums.result()


def real_moments(
    space: FeatureSpace,
    images: npt.NDArray[np.uint8],
    *,
    cache_dir: Path | None,
    count: int | None = None,
    seed: int = 0,
    fingerprint: str | None = None,
    batch_size: int = 64,
) -> Moments:
    """Mean and covariance of a real data set, from the cache if they have been computed before.

    Args:
        space: Where.
        images: uint8 ``(N, C, H, W)``, may be memory-mapped.
        cache_dir: Folder of the caches; None keeps nothing.
        count: Images to use, drawn without replacement; None is all of them.
        seed: Of that draw.
        fingerprint: Hash of ``images``; None computes it.
        batch_size: Images at once.

    Raises:
        ConfigError: ``count`` is out of range, or too small for the space.
        DataError: The images are not images, or the cache is damaged.
    """
    total = len(images)
    used = total if count is None else count
    if not 1 <= used <= total:
        raise ConfigError(f"`count` must be in 1..{total}, the number of real images, got {count}")
    if used < space.dims + 1:  # said before an hour is spent on features
        too_few = MomentSums(space.space)
        too_few.count = used
        too_few.result()
    path = None
    if cache_dir is not None:
        draw = "" if used == total else f"-seed{seed}"
        data = (fingerprint or array_hash(images))[:16]
        name = f"moments-v{VERSION}-{space.name}-{space.space.fingerprint[:16]}-{data}-{used}{draw}.safetensors"
        path = Path(cache_dir) / "fidelity" / name

    def make() -> Stored:
        rows = np.sort(numpy_stream(seed, "fidelity/real").permutation(total)[:used])
        # Sorted, for a memory-mapped file is read forwards.
        chosen = (torch.from_numpy(images[rows[start : start + batch_size]]) for start in range(0, used, batch_size))
        moments = moments_of_images(space, chosen)
        tensors = {"mean": torch.from_numpy(moments.mean), "covariance": torch.from_numpy(moments.covariance)}
        return tensors, {"count": str(moments.count), "space": str(moments.space)}

    tensors, metadata = cached(path, make)
    try:
        mean, covariance, kept = tensors["mean"], tensors["covariance"], int(metadata["count"])
    except KeyError as error:
        raise DataError(f"{path} lacks {error}; delete it, it will be computed anew") from error
    return Moments(mean.numpy(), covariance.numpy(), kept, space.space)
