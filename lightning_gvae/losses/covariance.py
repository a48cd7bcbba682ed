"""Penalties of DIP-VAE: distance of the latents' covariance from the identity."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["CovariancePenalty", "DIPKind", "covariance_penalty"]

DIPKind = Literal["I", "II"]


class CovariancePenalty(NamedTuple):
    """Squared distances of a covariance matrix ``(Z, Z)`` from the identity. Scalars.

    Attributes:
        off_diagonal: Sum of the squares of the entries off the diagonal.
        diagonal: Sum of the squares of the diagonal's entries minus 1.
    """

    off_diagonal: Tensor
    diagonal: Tensor


def covariance_penalty(mean: Tensor, log_var: Tensor, kind: DIPKind = "I") -> CovariancePenalty:
    r"""Distance of the latents' covariance over a batch from the identity.

    Kind I takes the covariance of the posterior means, :math:`\mathrm{Cov}[\mu(x)]`; kind II that of the aggregate
    posterior, :math:`\mathrm{Cov}[\mu(x)] + \mathbb{E}[\mathrm{diag}(\sigma^2(x))]`. Moments are divided by B.

    Args:
        mean: Posterior means, ``(B, Z)``.
        log_var: Natural logarithms of the posterior variances, ``(B, Z)``.
        kind: ``"I"`` or ``"II"``.

    References:
        Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, 2018, eq. 6 and 7.
    """
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / len(mean)
    variances = covariance.diagonal()
    off_diagonal = (covariance - torch.diag(variances)).square().sum()
    if kind == "II":
        variances = variances + torch.exp(log_var).mean(0)
    return CovariancePenalty(off_diagonal, (variances - 1).square().sum())
