r"""Parts of the KL of a minibatch: mutual information, total correlation and the KL of each dimension on its own.

.. math:: \mathbb{E}_x\,\mathrm{KL}(q(z|x)\|p(z)) = I(x;z) + \mathrm{KL}\Big(q(z)\Big\|\prod_j q(z_j)\Big)
          + \sum_j \mathrm{KL}(q(z_j)\|p(z_j))

They need the density of the aggregate posterior :math:`q(z) = \frac1N \sum_n q(z|x_n)` over the whole data set, which a
minibatch can only estimate. For the exact parts of a small set see :mod:`lightning_gvae.metrics.aggregate_posterior`.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["ESTIMATES", "Estimate", "KLParts", "batch_log_weights", "kl_parts"]

Estimate = Literal["weighted", "stratified"]
ESTIMATES: tuple[Estimate, ...] = ("weighted", "stratified")
LOG_TWO_PI = math.log(2 * math.pi)


class KLParts(NamedTuple):
    """Parts of the KL of a batch, nats, means over the batch; each may be negative, because it is an estimate.

    Attributes:
        information: I(x; z) between the index of an image and its latents. Scalar.
        total_correlation: KL(q(z) || prod_j q(z_j)). Scalar.
        dimension_wise_kl: sum_j KL(q(z_j) || N(0, 1)). Scalar.
    """

    information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def batch_log_weights(
    batch_size: int, data_size: int, estimate: Estimate, device: torch.device | None = None
) -> Tensor:
    r"""Logarithms of the weights that make a minibatch stand for the whole data set.

    Row i holds the weights by which :math:`q(z_i|x_k)` of each image k of the batch is summed up to :math:`q(z_i)`.

    ``"weighted"``: 1 / (N B) each. ``"stratified"``: 1 / N for the image that the latents were drawn for,
    (N - M) / (N M) for one other image and 1 / M for the rest, M = B - 1. The expectation of the second over the choice
    of the other images is exactly :math:`q(z_i)`. The first is smaller, by a factor of B where the posteriors lie far
    apart and of N where they are alike; it only shifts logarithms, which no gradient sees.

    A batch of one image has nothing to compare with: its own posterior stands for all, weight 1. A data set smaller
    than the batch counts as large as the batch.

    Args:
        batch_size: B, images of the batch.
        data_size: N, images of the data set.
        estimate: ``"weighted"`` or ``"stratified"``.
        device: Of the result.

    Returns:
        ``(B, B)``, fp32.

    References:
        Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in Variational Autoencoders, 2018,
        appendix C. Their code gives the weight 1 / N to the first image of the batch instead of the own one.
    """
    others, size = batch_size - 1, max(data_size, batch_size)
    if others == 0:
        return torch.zeros(1, 1, device=device)
    if estimate == "weighted":
        return torch.full((batch_size, batch_size), -math.log(size * batch_size), device=device)
    rows = torch.arange(batch_size, device=device)
    weights = torch.full((batch_size, batch_size), 1 / others, device=device)
    weights[rows, (rows + 1) % batch_size] = (size - others) / (size * others)
    weights[rows, rows] = 1 / size
    return weights.log()


def kl_parts(
    latents: Tensor, mean: Tensor, log_var: Tensor, data_size: int, estimate: Estimate = "stratified"
) -> KLParts:
    """Parts of the KL to the standard normal prior, estimated from a minibatch.

    They add up to ``log q(z|x) - log p(z)`` of the latents drawn, whatever the estimate.

    Args:
        latents: One draw from each posterior, ``(B, Z)``.
        mean: Posterior means, ``(B, Z)``.
        log_var: Natural logarithms of the posterior variances, ``(B, Z)``.
        data_size: N, images of the data set, at least 1.
        estimate: ``"weighted"`` or ``"stratified"``, see :func:`batch_log_weights`.
    """
    log_weights = batch_log_weights(len(latents), data_size, estimate, latents.device)
    pairs = _log_density(latents[:, None], mean[None], log_var[None])  # (B, B, Z): latents i under the posterior of k
    joint = torch.logsumexp(log_weights + pairs.sum(2), dim=1)
    marginals = torch.logsumexp(log_weights[:, :, None] + pairs, dim=1).sum(1)
    conditional = _log_density(latents, mean, log_var).sum(1)
    prior = _log_density(latents, torch.zeros_like(mean), torch.zeros_like(log_var)).sum(1)
    return KLParts((conditional - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean())


def _log_density(values: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    return -0.5 * ((values - mean).square() * torch.exp(-log_var) + log_var + LOG_TWO_PI)
