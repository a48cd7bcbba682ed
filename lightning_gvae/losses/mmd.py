"""Maximum mean discrepancy: distance of two samples by the means of their features in a kernel's space."""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["KERNELS", "Kernel", "mmd"]

Kernel = Literal["rbf", "imq"]
KERNELS: tuple[Kernel, ...] = ("rbf", "imq")


def mmd(first: Tensor, second: Tensor, kernel: Kernel = "rbf", bandwidth: float | None = None) -> Tensor:
    r"""Squared maximum mean discrepancy of two samples.

    .. math:: \frac1{n^2}\sum_{ij} k(x_i, x_j) + \frac1{m^2}\sum_{ij} k(y_i, y_j) - \frac2{nm}\sum_{ij} k(x_i, y_j)

    with :math:`k(x, y) = \exp(-\|x - y\|^2 / h)` (``"rbf"``) or :math:`h / (h + \|x - y\|^2)` (``"imq"``, whose tails
    are heavier: points far from all others still feel a gradient). The terms i = j count, so the result is never
    negative, and it is about :math:`(1/n + 1/m)(1 - \mathbb{E}k)` where both samples have the same distribution.

    Args:
        first: ``(n, Z)``.
        second: ``(m, Z)``.
        kernel: ``"rbf"`` or ``"imq"``.
        bandwidth: h, positive; ``None`` is 2 Z, the mean squared distance of two draws of the standard normal.

    Returns:
        Scalar in [0, 2], no unit.

    References:
        Gretton et al., A Kernel Two-Sample Test, 2012, eq. 5. Zhao, Song and Ermon, InfoVAE, 2019.
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018 (``"imq"``).
    """
    width = 2.0 * first.shape[1] if bandwidth is None else bandwidth
    pooled = torch.cat([first, second])
    distances = (pooled[:, None] - pooled[None]).square().sum(2)
    values = torch.exp(-distances / width) if kernel == "rbf" else width / (width + distances)
    n = len(first)
    return values[:n, :n].mean() + values[n:, n:].mean() - 2 * values[:n, n:].mean()
