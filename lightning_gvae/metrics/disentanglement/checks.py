"""Checks of codes and factors that all scores share, in one wording."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lightning_gvae.errors import ConfigError, DataError

__all__ = ["Floats", "Ints", "check_varied", "checked_codes", "checked_count", "checked_factors", "checked_split"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def checked_codes(codes: npt.ArrayLike, least_latents: int = 1) -> Floats:
    """Codes ``(N, L)`` as fp64.

    Raises:
        DataError: Not a matrix of at least one row, or a value is NaN or infinite.
        ConfigError: Fewer than ``least_latents`` latents.
    """
    matrix = np.asarray(codes, dtype=np.float64)
    if matrix.ndim != 2 or not len(matrix):
        raise DataError(f"`codes` must be (samples, latents) with at least 1 sample, got shape {matrix.shape}")
    if matrix.shape[1] < least_latents:
        raise ConfigError(
            f"the score compares latents and needs at least {least_latents}, got {matrix.shape[1]}; "
            "raise the model's `latent_dim`, or leave the score out"
        )
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, latent = np.argwhere(bad)[0]
        raise DataError(
            f"`codes` must be finite, got {matrix[row, latent]} in latent {latent} of sample {row} and "
            f"{bad.sum() - 1} more such values; the encoder has diverged"
        )
    return matrix


def checked_factors(factors: npt.ArrayLike, count: int, least_factors: int = 1) -> Ints:
    """Factor classes ``(N, F)``, each column renumbered 0..K-1 in increasing order.

    Raises:
        DataError: Not integers, or not ``count`` rows.
        ConfigError: Fewer than ``least_factors`` factors.
    """
    matrix = np.asarray(factors)
    if matrix.ndim != 2 or matrix.dtype.kind not in "iub":
        raise DataError(
            f"`factors` must be integer classes of shape (samples, factors), got {matrix.dtype} of shape {matrix.shape}"
        )
    if len(matrix) != count:
        raise DataError(f"`factors` must be as many as the {count} codes, got {len(matrix)}")
    if matrix.shape[1] < least_factors:
        raise ConfigError(f"the score needs at least {least_factors} factors, got {matrix.shape[1]}; add factors")
    columns = [np.unique(column, return_inverse=True)[1] for column in matrix.T]
    return np.stack(columns, axis=1).astype(np.int64)


def check_varied(factors: npt.ArrayLike, numbers: Sequence[int] | None = None) -> None:
    """Refuse a factor that takes one value only: it has no entropy, and nothing can be learnt about it.

    Args:
        factors: ``(N, F)``.
        numbers: What the message calls the F factors; None: 0..F-1.

    Raises:
        DataError: Naming the factor and its value.
    """
    matrix = np.asarray(factors)
    for factor, column in enumerate(matrix.T):
        if (column == column[0]).all():
            name = factor if numbers is None else numbers[factor]
            raise DataError(
                f"factor {name} has the value {column[0]} in all {len(column)} samples and so no information; "
                "leave it out, or draw more samples"
            )


def checked_split(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_factors: npt.ArrayLike,
    latents: int = 1,
) -> tuple[Floats, npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """Codes and factors to learn from, and those to test on; classes keep their numbers, which both must share.

    Raises:
        DataError: As :func:`checked_codes`, :func:`checked_factors` and :func:`check_varied`, or the columns differ.
        ConfigError: Fewer than ``latents`` latents.
    """
    train, test = checked_codes(codes, latents), checked_codes(test_codes, latents)
    checked_factors(factors, len(train))
    checked_factors(test_factors, len(test))
    labels, test_labels = np.asarray(factors), np.asarray(test_factors)
    if train.shape[1] != test.shape[1] or labels.shape[1] != test_labels.shape[1]:
        raise DataError(
            f"training and test samples must have the same latents and factors, got {train.shape[1]} and "
            f"{test.shape[1]} latents, {labels.shape[1]} and {test_labels.shape[1]} factors"
        )
    check_varied(labels)
    return train, labels, test, test_labels


def checked_count(name: str, value: int, least: int = 1) -> int:
    """A whole number of at least ``least``.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ConfigError(f"`{name}` must be a whole number of at least {least}, got {value}")
    return int(value)
