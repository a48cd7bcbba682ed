"""Vendi score: the effective number of different samples, from the eigenvalues of their similarities."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.metrics.diversity.effective import checked_order, effective_number
from lightning_gvae.rng import numpy_stream

__all__ = [
    "second_moment",
    "unit_rows",
    "vendi_features",
    "vendi_kernel",
    "vendi_rbf",
    "vendi_samples",
    "vendi_spectrum",
]

CHUNK = 2048  # rows at once
MOST_EXACT = 4096  # samples of an exact eigenvalue problem of the Gaussian kernel: 134 MB and about half a minute
ROUNDING = 1e-12  # eigenvalues below this part of the largest are zeros
SLACK = 1e-6  # a kernel in single precision may miss symmetry, its diagonal and positive semi-definiteness by so much


def vendi_kernel(kernel: Tensor, order: float = 1.0, weights: Tensor | None = None) -> float:
    r"""Vendi score of a matrix of similarities.

    .. math:: VS_q = D_q(\lambda),\quad \lambda = \mathrm{eig}\big(\sqrt{p_i p_j} K_{ij}\big),\quad p_i = 1/n

    with :math:`D_q` the :func:`~.effective.effective_number`. n equal samples score 1, n orthogonal ones n.

    >>> round(vendi_kernel(torch.tensor([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])), 4)
    2.1573

    Args:
        kernel: ``(n, n)``, symmetric, positive semi-definite, 1 on the diagonal.
        order: q, 0 or more; above 1 rare kinds count less, below 1 more.
        weights: Share of each sample ``(n,)``, summing to 1; None is 1/n.

    Raises:
        ConfigError: ``order`` is negative, or ``weights`` are no shares of n samples.
        DataError: The matrix is not square, not finite, not symmetric, not 1 on its diagonal, or not positive
            semi-definite.

    References:
        Friedman and Dieng, The Vendi score: a diversity evaluation metric for machine learning, 2023.
        Pasarkar and Dieng, Cousins of the Vendi score: a family of similarity-based diversity metrics, 2024 (orders q).
    """
    matrix = _checked_kernel(kernel)
    p = _shares(weights, len(matrix))
    root = p.sqrt()
    return vendi_spectrum(torch.linalg.eigvalsh(root[:, None] * matrix * root), order)


def vendi_samples(samples: Sequence[Any], kernel: Callable[[Any, Any], float], order: float = 1.0) -> float:
    """Vendi score of anything between two of which a similarity can be computed; n (n + 1) / 2 calls.

    >>> round(vendi_samples([0, 0, 1, 1], lambda a, b: float(a == b)), 4)
    2.0

    Args:
        samples: n samples of any kind.
        kernel: Similarity of two of them, symmetric, 1 of a sample with itself.
        order: As for :func:`vendi_kernel`.

    Raises:
        ConfigError: There is no sample, or as for :func:`vendi_kernel`.
        DataError: As for :func:`vendi_kernel`.
    """
    if not len(samples):
        raise ConfigError("`samples` must be at least one sample, got none")
    matrix = torch.zeros(len(samples), len(samples), dtype=torch.float64)
    for row, one in enumerate(samples):
        for column in range(row + 1):
            matrix[row, column] = matrix[column, row] = float(kernel(one, samples[column]))
    return vendi_kernel(matrix, order)


def vendi_features(features: Tensor, order: float = 1.0, weights: Tensor | None = None) -> float:
    r"""Vendi score with the cosine kernel, in D x D numbers however many samples there are.

    With rows of length one in X, :math:`X X^T / n` and :math:`X^T X / n` have the same eigenvalues but for zeros, so
    the smaller of the two is taken. Costs n D² + D³ for n > D.

    Args:
        features: ``(n, D)``; rows are divided by their length.
        order: As for :func:`vendi_kernel`.
        weights: As for :func:`vendi_kernel`.

    Returns:
        1 to min(n, D): a space of D dimensions cannot tell more than D kinds apart.

    Raises:
        ConfigError: ``order`` is negative, or ``weights`` are no shares of n samples.
        DataError: Not ``(n, D)``, not finite, or a row is all zero.
    """
    p = _shares(weights, len(features))
    if len(features) <= features.shape[1]:
        rows = unit_rows(features)
        root = p.sqrt()[:, None]
        return vendi_spectrum(torch.linalg.eigvalsh((root * rows) @ (root * rows).T), order)
    return vendi_spectrum(torch.linalg.eigvalsh(second_moment(features, p)), order)


def vendi_rbf(
    features: Tensor, bandwidth: float, order: float = 1.0, *, landmarks: int | None = None, seed: int = 0
) -> float:
    r"""Vendi score with the Gaussian kernel :math:`\exp(-\|x - y\|^2 / 2 h^2)`.

    Exact for up to 4096 samples, and for order 2, whose :math:`1 / \sum_{ij} (K_{ij}/n)^2` needs no eigenvalues, for
    any number. Otherwise ``landmarks`` must be given: the kernel is then projected on so many samples (Nyström), an
    approximation that tells at most so many kinds apart. Compare only scores of equally many landmarks.

    Args:
        features: ``(n, D)``.
        bandwidth: h, in units of the features, above 0.
        order: As for :func:`vendi_kernel`.
        landmarks: Samples the kernel is projected on; None is exact.
        seed: Of the draw of the landmarks.

    Raises:
        ConfigError: ``bandwidth`` is not above 0, ``landmarks`` is not in 1..n, or there are too many samples for the
            exact score.
        DataError: Not ``(n, D)`` or not finite.
    """
    if not 0 < bandwidth < float("inf"):
        raise ConfigError(f"`bandwidth` must be above 0, in units of the features, got {bandwidth!r}")
    order = checked_order(order)
    x = _checked_rows(features).double()
    count = len(x)
    if landmarks is None and order == 2:
        parts = (_gaussian(part, x, bandwidth).square().sum() for part in x.split(CHUNK))
        return float(count**2 / sum(parts, torch.zeros((), dtype=torch.float64)))
    if landmarks is None:
        if count > MOST_EXACT:
            raise ConfigError(
                f"the exact score of a Gaussian kernel is computed for up to {MOST_EXACT} samples, got {count}; give "
                "`landmarks`, take order 2, or take fewer samples"
            )
        return vendi_kernel(torch.cat([_gaussian(part, x, bandwidth) for part in x.split(CHUNK)]), order)
    if checked_count("landmarks", landmarks) > count:
        raise ConfigError(f"`landmarks` must be in 1..{count}, the number of samples, got {landmarks}")
    rows = numpy_stream(seed, "vendi/landmarks").permutation(count)[:landmarks]
    anchors = x[torch.from_numpy(np.sort(rows))]
    values, vectors = torch.linalg.eigh(_gaussian(anchors, anchors, bandwidth))
    kept = values > 1e-10 * values[-1]
    whitening = vectors[:, kept] / values[kept].sqrt()
    projected = torch.cat([_gaussian(part, anchors, bandwidth) @ whitening for part in x.split(CHUNK)])
    # Rows shorter than one lie partly outside the landmarks' span: scaled up, each sample still counts once.
    return vendi_features(projected, order)


def vendi_spectrum(eigenvalues: Tensor, order: float = 1.0) -> float:
    """Vendi score from the eigenvalues of a kernel divided by n, ``(K,)``, summing to 1.

    Raises:
        ConfigError: ``order`` is negative.
        DataError: One is negative beyond rounding: the kernel is not positive semi-definite.
    """
    lowest, total = float(eigenvalues.min()), float(eigenvalues.sum())
    if lowest < -SLACK * max(1.0, total):
        raise DataError(
            f"the kernel is not positive semi-definite: its smallest eigenvalue, divided by the number of samples, is "
            f"{lowest:.3g}; take a kernel that is, such as cosine or Gaussian, or square the matrix"
        )
    shares = eigenvalues.double().clamp(min=0)
    # Rounding leaves empty directions at 1e-17 instead of 0, which a power below 1 would count.
    shares = shares.where(shares > ROUNDING * shares.max(), 0.0)
    return effective_number(shares / shares.sum(), order)


def second_moment(features: Tensor | Iterable[Tensor], weights: Tensor | None = None) -> Tensor:
    """``X^T diag(p) X`` fp64 ``(D, D)`` of rows divided by their length, piece by piece; ``p`` is 1/n without weights.

    Raises:
        DataError: As for :func:`unit_rows`.
    """
    pieces = features.split(CHUNK) if isinstance(features, Tensor) else features
    total, start = torch.zeros(()), 0
    for piece in pieces:
        rows = unit_rows(piece)
        if not start:
            total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
        weighted = rows if weights is None else rows * weights[start : start + len(rows), None]
        total.addmm_(rows.T, weighted)
        start += len(rows)
    return total / start if weights is None else total


def unit_rows(features: Tensor) -> Tensor:
    """Rows ``(n, D)`` divided by their length, fp64.

    Raises:
        DataError: Not ``(n, D)``, not finite, or a row is all zero: it is similar to nothing, not even to itself.
    """
    rows = _checked_rows(features).double()
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    if zero := int((lengths == 0).sum()):
        raise DataError(f"{zero} of {len(rows)} feature vectors are all zero and have no direction; leave them out")
    return rows / lengths


def _gaussian(rows: Tensor, columns: Tensor, bandwidth: float) -> Tensor:
    return torch.exp(torch.cdist(rows, columns).square() / (-2 * bandwidth**2))


def _checked_rows(features: Tensor) -> Tensor:
    if features.ndim != 2 or not features.numel():
        raise DataError(f"features must be of shape (n, D) with at least one sample, got {tuple(features.shape)}")
    if not features.isfinite().all():
        raise DataError("features must be finite, found NaN or infinity; look at the model that made the samples")
    return features


def _checked_kernel(kernel: Tensor) -> Tensor:
    matrix = torch.as_tensor(kernel).double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise DataError(f"`kernel` must be a square matrix of similarities (n, n), got {tuple(matrix.shape)}")
    if not matrix.isfinite().all():
        raise DataError("`kernel` must be finite, found NaN or infinity")
    if (apart := float((matrix - matrix.T).abs().max())) > SLACK:
        raise DataError(f"`kernel` must be symmetric, but K[i, j] and K[j, i] differ by up to {apart:.3g}")
    if (apart := float((matrix.diagonal() - 1).abs().max())) > SLACK:
        raise DataError(
            f"`kernel` must be 1 on its diagonal, the similarity of a sample with itself, but it is off by up to "
            f"{apart:.3g}; divide K[i, j] by the square root of K[i, i] K[j, j]"
        )
    return (matrix + matrix.T) / 2


def _shares(weights: Tensor | None, count: int) -> Tensor:
    if weights is None:
        return torch.full((count,), 1 / max(1, count), dtype=torch.float64)
    p = torch.as_tensor(weights).double()
    if p.shape != (count,) or not p.isfinite().all() or float(p.min()) < 0 or abs(float(p.sum()) - 1) > 1e-6:
        raise ConfigError(
            f"`weights` must be {count} numbers of 0 or more that sum to 1, one a sample, got shape {tuple(p.shape)} "
            f"with sum {float(p.sum()):g}"
        )
    return p
