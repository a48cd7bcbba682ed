"""Loss of a network that is trained on many KL weights at once: draws of the weights, and how they are counted."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["group_sums", "mean_weight", "normalised_loss", "stratified_rates"]


def stratified_rates(
    count: int, groups: int, low: float, high: float, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """KL weights ``(N, G)``, each uniform in log beta, one in each of N equal parts of the range, in random order.

    Args:
        count: N.
        groups: G; the groups' weights are independent of each other.
        low: Lowest weight, positive.
        high: Highest weight.
        generator: Source of the draws.
        like: Tensor of the device and precision that is wanted.
    """
    within = torch.rand(count, groups, generator=generator, device=like.device)
    orders = torch.rand(count, groups, generator=generator, device=like.device).argsort(0)
    position = (orders + within).to(like.dtype) / count
    return low * torch.exp(position * math.log(high / low))


def group_sums(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Sums ``(B, G)`` over G consecutive groups of the columns of ``(B, Z)``."""
    if len(sizes) == 1:
        return values.sum(1, keepdim=True)
    return torch.stack([part.sum(1) for part in values.split(list(sizes), dim=1)], dim=1)


def normalised_loss(recon: Tensor, kl: Tensor, rates: Tensor, power: float) -> Tensor:
    r"""Loss of each image, :math:`\bar\beta^{-p} (D + \sum_g \beta_g R_g)`, nats.

    Args:
        recon: D, ``(B,)``.
        kl: R of each group, ``(B, G)``.
        rates: KL weights, ``(B, G)``; their geometric mean over the groups is the weight that is divided by.
        power: p.
    """
    loss = recon + (rates * kl).sum(1)
    return loss if power == 0 else loss * rates.log().mean(1).mul(-power).exp()


def mean_weight(low: float, high: float, power: float, groups: int = 1) -> float:
    r"""Mean of :math:`\bar\beta^{-p}` over weights that are uniform in log beta: what keeps the loss's scale.

    >>> mean_weight(0.1, 10.0, 0.0)
    1.0
    >>> round(mean_weight(0.1, 10.0, 1.0), 4)
    2.1498
    """
    if power == 0:
        return 1.0
    p = power / groups
    return float(((low**-p - high**-p) / (p * math.log(high / low))) ** groups)
