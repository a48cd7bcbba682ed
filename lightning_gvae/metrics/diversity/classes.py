"""Classes of a set of samples, and how evenly they occur."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.diversity.effective import effective_number

__all__ = ["ClassDiversity", "class_diversity", "class_shares"]


class ClassDiversity(NamedTuple):
    """Classes of a set of samples.

    Args:
        coverage: Share of the K classes that hold at least ``least`` of the samples.
        entropy: Of the class shares, nats, 0 to log K.
        effective: exp(entropy), effective number of classes, 1 to K.
        imbalance: Total variation distance of the shares from the reference, 0 to 1.
    """

    coverage: float
    entropy: float
    effective: float
    imbalance: float


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """Share of each class, fp64 ``(K,)``.

    Args:
        labels: Integers 0..K-1 ``(N,)``, or logits ``(N, K)``, of which the largest counts.
        classes: K.

    Raises:
        DataError: There is no label, or one is out of range.
    """
    found = labels.argmax(1) if labels.ndim == 2 and labels.shape[1] == classes else labels
    if found.ndim != 1 or not len(found) or found.is_floating_point():
        raise DataError(f"`labels` must be integers (N,) or logits (N, {classes}), got {tuple(labels.shape)}")
    if int(found.min()) < 0 or int(found.max()) >= classes:
        raise DataError(f"`labels` must lie in 0..{classes - 1}, got {int(found.min())}..{int(found.max())}")
    return torch.bincount(found, minlength=classes).double() / len(found)


def class_diversity(
    labels: Tensor, classes: int, reference: Tensor | None = None, least: float = 0.0
) -> ClassDiversity:
    """Coverage and entropy of classes; a generator that lost modes has low values.

    >>> class_diversity(torch.tensor([0, 0, 1, 1]), 4).coverage
    0.5

    Args:
        labels: As for :func:`class_shares`.
        classes: K.
        reference: Shares ``(K,)`` the set is compared with; None is 1/K each.
        least: Share above which a class counts as covered; 0 asks for a single sample.

    Raises:
        ConfigError: ``reference`` are no shares of K classes, or ``least`` is not in [0, 1).
        DataError: As for :func:`class_shares`.
    """
    if not 0 <= least < 1:
        raise ConfigError(f"`least` must be a share in [0, 1), got {least!r}")
    shares = class_shares(labels, classes)
    wanted = torch.full_like(shares, 1 / classes) if reference is None else reference.double()
    if wanted.shape != shares.shape or abs(float(wanted.sum()) - 1) > 1e-6 or float(wanted.min()) < 0:
        raise ConfigError(f"`reference` must be {classes} shares that sum to 1, got {wanted.tolist()}")
    effective = effective_number(shares)
    covered = float(((shares > 0) & (shares >= least)).double().mean())
    imbalance = float((shares - wanted).abs().sum() / 2)
    return ClassDiversity(covered, float(torch.tensor(effective, dtype=torch.float64).log()), effective, imbalance)
