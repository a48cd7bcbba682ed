"""Effective numbers: how many equally common kinds would be as diverse as these shares."""

import math

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = ["checked_order", "effective_number"]

ZERO = 1e-10  # shares below this part of the largest count as none for order 0: rounding of an eigenvalue problem


def effective_number(shares: Tensor, order: float = 1.0) -> float:
    r"""Hill number of shares that sum to 1.

    .. math:: D_q = \Big(\sum_i p_i^q\Big)^{1/(1-q)},\quad D_1 = \exp\Big(-\sum_i p_i \log p_i\Big),\quad
              D_\infty = 1 / \max_i p_i

    D_0 is how many shares are not zero, D_2 the inverse Simpson index. It falls with the order, because a higher one
    gives rare kinds less weight.

    >>> round(effective_number(torch.full((7,), 1 / 7), 1.0), 6), effective_number(torch.tensor([0.5, 0.5, 0.0]), 0)
    (7.0, 2.0)

    Args:
        shares: ``(K,)``, 0 or more, summing to 1.
        order: q, 0 or more; ``inf`` looks at the largest share alone.

    Returns:
        1 to K.

    Raises:
        ConfigError: ``order`` is negative or not a number, or the shares are no shares.

    References:
        Hill, Diversity and evenness: a unifying notation and its consequences, 1973.
    """
    order = checked_order(order)
    p = shares.double()
    if p.ndim != 1 or not len(p) or not p.isfinite().all() or float(p.min()) < 0 or abs(float(p.sum()) - 1) > 1e-4:
        raise ConfigError(
            f"`shares` must be one row of numbers of 0 or more that sum to 1, got shape {tuple(p.shape)} with sum "
            f"{float(p.sum()):g}"
        )
    p = p / p.sum()
    present = p[p > 0]
    if order == 0:
        return float((p > ZERO * p.max()).sum())
    if math.isinf(order):
        return float(1 / p.max())
    if order == 1:
        return float(torch.exp(-(present * present.log()).sum()))
    # Through logarithms: a high power of a small share would underflow.
    return float(torch.exp(torch.logsumexp(order * present.log(), 0) / (1 - order)))


def checked_order(order: float) -> float:
    """``order`` as a number of 0 or more.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(order, bool) or not isinstance(order, int | float) or not order >= 0:
        raise ConfigError(f"`order` must be 0 or more, or inf, got {order!r}")
    return float(order)
