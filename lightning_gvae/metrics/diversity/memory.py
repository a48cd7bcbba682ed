"""Samples that repeat one another, and samples that repeat a training image."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError

__all__ = ["Memorisation", "duplicate_rate", "memorisation", "nearest_distances"]

BUDGET = 2**27  # bytes of one matrix of distances
COPY = 1 / 3  # Yoon et al.: a sample three times nearer to one training image than to any other is a copy of it


def nearest_distances(queries: Tensor, references: Tensor, count: int = 1, *, same: bool = False) -> Tensor:
    """Euclidean distances to the nearest references, exact, piece by piece, fp64 ``(N, count)``, ascending.

    Args:
        queries: ``(N, D)``.
        references: ``(M, D)``.
        count: Neighbours k.
        same: ``references`` are the ``queries``: a sample is not its own neighbour.

    Raises:
        ConfigError: There are fewer references than neighbours.
        DataError: The two are not ``(N, D)`` and ``(M, D)``, or not finite.
    """
    if queries.ndim != 2 or references.ndim != 2 or queries.shape[1] != references.shape[1] or not len(queries):
        raise DataError(
            f"features must be of shapes (N, D) and (M, D), got {tuple(queries.shape)} and {tuple(references.shape)}"
        )
    if not queries.isfinite().all() or not references.isfinite().all():
        raise DataError("features must be finite, found NaN or infinity; look at the model that made the samples")
    if not 1 <= count <= len(references) - same:
        raise ConfigError(f"`count` must be in 1..{len(references) - same}, the other samples, got {count}")
    # Centred, and squares by a product of matrices in double precision: five times quicker than differences.
    centre = references.double().mean(0)
    others = references.double() - centre
    lengths = others.square().sum(1)
    found = []
    rows = max(1, BUDGET // (8 * len(references)))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows].double() - centre
        squares = torch.addmm(lengths + part.square().sum(1, keepdim=True), part, others.T, alpha=-2)
        if same:
            own = torch.arange(len(part))
            squares[own, start + own] = torch.inf
        chosen = squares.topk(count, largest=False).indices
        # The product cancels for near neighbours; the few chosen are computed again by differences.
        found.append((part[:, None] - others[chosen]).norm(dim=2).sort(1).values)
    return torch.cat(found)


def duplicate_rate(samples: Tensor, threshold: float = 0.0) -> float:
    """Share of samples within ``threshold`` of another one: 0 if all differ, 1 if each has a twin.

    Args:
        samples: Features ``(N, D)``, or pixels.
        threshold: Largest distance of twins, in units of the features; 0 finds exact repeats.

    Raises:
        ConfigError: ``threshold`` is negative, or there is a single sample.
        DataError: As for :func:`nearest_distances`.
    """
    if not threshold >= 0:
        raise ConfigError(f"`threshold` must be a distance of 0 or more, got {threshold!r}")
    return float((nearest_distances(samples, samples, same=True)[:, 0] <= threshold).double().mean())


class Memorisation(NamedTuple):
    """Number of samples that repeat a training image.

    Args:
        near: Share of samples nearer to a training image than all but ``level`` of the held-out images are. A model
            that samples the true distribution gets ``level``.
        copies: Share of samples at most a third as far from their nearest training image as from the second nearest.
        median: Median distance to the nearest training image.
        threshold: Distance below which a sample counts as near.
        held_out_median: Median distance of the held-out images.
    """

    near: float
    copies: float
    median: float
    threshold: float
    held_out_median: float


def memorisation(samples: Tensor, train: Tensor, held_out: Tensor, level: float = 0.05) -> Memorisation:
    """Compare the samples' nearest training neighbours with those of real images that were not trained on.

    Args:
        samples: Features of samples ``(N, D)``.
        train: Features of training images ``(M, D)``, all of them.
        held_out: Features of real images that were not trained on ``(K, D)``.
        level: Share of the held-out images that counts as near, in (0, 1).

    Raises:
        ConfigError: ``level`` is out of range, or there are fewer than two training images.
        DataError: As for :func:`nearest_distances`.

    References:
        Yoon, Choi, Kwon and Ryu, Diffusion probabilistic models generalize when they fail to memorize, 2023 (copies).
        Meehan, Chaudhuri and Dasgupta, A non-parametric test to detect data-copying in generative models, 2020 (the
        comparison with held-out images).
    """
    if not 0 < level < 1:
        raise ConfigError(f"`level` must be a share between 0 and 1, got {level!r}")
    ours = nearest_distances(samples, train, 2)
    real = nearest_distances(held_out, train)[:, 0]
    threshold = float(real.quantile(level))
    return Memorisation(
        float((ours[:, 0] <= threshold).double().mean()),
        float((ours[:, 0] <= COPY * ours[:, 1]).double().mean()),
        float(ours[:, 0].median()),
        threshold,
        float(real.median()),
    )
