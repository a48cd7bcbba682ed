"""Density and coverage of generated images, by exact nearest neighbours in pieces of bounded memory."""

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features
from lightning_gvae.metrics.fidelity.score import SEED, Score, paired_scores

__all__ = ["density_and_coverage", "density_coverage"]

BUDGET = 2**27  # bytes of one matrix of distances


def density_coverage(
    generated: Features,
    real: Features,
    *,
    neighbours: int = 5,
    resamples: int = 1,
    size: int | None = None,
    seed: int = SEED,
) -> tuple[Score, Score]:
    """Density of generated images among the real ones (0 or more), and the share of real images they reach.

    Args:
        generated: Features of generated images.
        real: Features of real images, best as many.
        neighbours: k.
        resamples: As for :func:`precision_recall`.
        size: As for :func:`precision_recall`.
        seed: Of the draws.

    Raises:
        ConfigError: As for :func:`precision_recall`.

    References:
        Naeem, Oh, Uh, Choi, Yoo, Reliable fidelity and diversity metrics for generative models, 2020.
    """

    def both(first: Features, second: Features) -> tuple[float, float]:
        return density_and_coverage(first.values, second.values, neighbours)

    return paired_scores(("density", "coverage"), both, generated, real, neighbours, resamples, size, seed)


def density_and_coverage(generated: Tensor, real: Tensor, neighbours: int = 5) -> tuple[float, float]:
    r"""Density and coverage of generated features with respect to the balls around the real ones.

    .. math::
        \text{density} = \frac{1}{kM} \sum_{j=1}^M \sum_{i=1}^N 1[y_j \in B(x_i, r_k(x_i))], \qquad
        \text{coverage} = \frac{1}{N} \sum_{i=1}^N 1[\exists j: y_j \in B(x_i, r_k(x_i))]

    with :math:`r_k(x_i)` the distance of a real image to its k-th nearest real neighbour, balls open.

    Args:
        generated: ``(M, D)``.
        real: ``(N, D)``.
        neighbours: k.

    Returns:
        Density, 0 or more and 1 on average for the real distribution, and coverage, 0 to 1.

    Raises:
        ConfigError: ``neighbours`` is not in 1..N - 1.

    References:
        Naeem, Oh, Uh, Choi, Yoo, Reliable fidelity and diversity metrics for generative models, 2020.
    """
    if not 1 <= neighbours < len(real):
        raise ConfigError(
            f"`neighbours` must be in 1..{len(real) - 1}, one less than the real images, got {neighbours}"
        )
    rows = max(1, BUDGET // (8 * max(len(real), len(generated))))
    inside, covered = 0, 0
    for start in range(0, len(real), rows):
        part = real[start : start + rows].double()
        among_real = _distances(part, real)
        own = torch.arange(len(part))
        among_real[own, start + own] = torch.inf  # an image is not its own neighbour
        radius = among_real.kthvalue(neighbours, dim=1, keepdim=True).values
        within = _distances(part, generated) < radius
        inside += int(within.sum())
        covered += int(within.any(1).sum())
    return inside / (neighbours * len(generated)), covered / len(real)


def _distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Euclidean distances in fp64, ``(R, N)``; fp32 would round those of near neighbours to zero."""
    return torch.cat([torch.cdist(rows, block.double()) for block in columns.split(4096)], dim=1)
