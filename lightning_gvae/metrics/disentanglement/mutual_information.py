"""Entropies and mutual information of discrete variables, plug-in estimates in nats.

Counted here rather than asked of a library: estimators of libraries have changed between versions, and with them
published scores.
"""

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import DataError
from lightning_gvae.metrics.disentanglement.checks import Floats, Ints, checked_codes, checked_count, checked_factors

__all__ = ["contingency", "discretise", "entropies", "information_matrix", "plug_in_information"]


def discretise(codes: npt.ArrayLike, bins: int = 20) -> Ints:
    """Bins 0..bins-1 of codes ``(N, L)``: of equal width between the minimum and the maximum of each latent.

    A bin owns its lower edge, the last one also the maximum. A latent that is constant falls into one bin.

    Raises:
        ConfigError: ``bins`` is not an integer of at least 2.
        DataError: ``codes`` is not a matrix, or not finite.

    >>> discretise([[0.0], [0.4], [0.5], [1.0]], bins=2).ravel().tolist()
    [0, 0, 1, 1]
    """
    matrix = checked_codes(codes)
    checked_count("bins", bins, least=2)
    low, high = matrix.min(0), matrix.max(0)
    columns = [
        np.searchsorted(np.linspace(a, b, bins + 1)[:-1], column, side="right") - 1
        for a, b, column in zip(low, high, matrix.T, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def contingency(first: Ints, second: Ints) -> Ints:
    """Counts ``(A, B)`` of the pairs of two label vectors ``(N,)`` with values 0..A-1 and 0..B-1."""
    width = int(second.max()) + 1
    height = int(first.max()) + 1
    return np.bincount(first * width + second, minlength=height * width).reshape(height, width)


def plug_in_information(counts: Ints) -> float:
    r"""Mutual information in nats of a contingency table ``(A, B)``.

    .. math:: I = \sum_{ab} \frac{n_{ab}}{n} \ln\frac{n\,n_{ab}}{n_a n_b}

    It exceeds the truth by about (A - 1)(B - 1) / 2n: independent variables of 20 and 40 values score 0.037 nats at
    10,000 samples.

    >>> round(plug_in_information(np.array([[2, 0], [0, 2]])), 4)
    0.6931
    """
    total = counts.sum()
    expected = np.outer(counts.sum(1), counts.sum(0)) / total
    seen = counts > 0
    information = float((counts[seen] / total * np.log(counts[seen] / expected[seen])).sum())
    return max(0.0, information)  # rounding may leave it just below


def information_matrix(codes: npt.ArrayLike, factors: npt.ArrayLike, bins: int = 20) -> Floats:
    """Mutual information ``(L, F)`` in nats of binned codes ``(N, L)`` and factor classes ``(N, F)``.

    Raises:
        ConfigError: ``bins`` is not an integer of at least 2.
        DataError: Shapes or types do not fit, or a code is not finite.
    """
    binned = discretise(codes, bins)
    classes = checked_factors(factors, len(binned))
    return np.array([[plug_in_information(contingency(latent, factor)) for factor in classes.T] for latent in binned.T])


def entropies(factors: npt.ArrayLike) -> Floats:
    """Entropy ``(F,)`` in nats of each column of factor classes ``(N, F)``.

    >>> entropies([[0, 5], [1, 5]]).round(4).tolist()
    [0.6931, 0.0]
    """
    matrix = np.asarray(factors)
    if matrix.ndim != 2 or not len(matrix):
        raise DataError(f"`factors` must be (samples, factors) with at least 1 sample, got shape {matrix.shape}")
    classes = checked_factors(matrix, len(matrix))
    shares = [np.bincount(column) / len(column) for column in classes.T]
    return np.array([-(share * np.log(share)).sum() + 0.0 for share in shares])
