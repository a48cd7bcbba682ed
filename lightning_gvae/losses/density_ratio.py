r"""Total correlation by a discriminator that tells latents from latents whose dimensions were shuffled.

At its optimum the logit of such a discriminator is :math:`\log q(z) - \log\prod_j q(z_j)`, whose mean over q is the
total correlation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["density_ratio_loss", "permuted_dimensions", "ratio_total_correlation"]


def permuted_dimensions(latents: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Latents ``(B, Z)`` with every dimension shuffled over the batch on its own: draws of the product of marginals."""
    order = torch.rand(latents.shape, device=latents.device, generator=generator).argsort(dim=0)
    return latents.gather(0, order)


def ratio_total_correlation(logits: Tensor) -> Tensor:
    """Estimate of the total correlation, nats: mean logit ``(B,)`` of latents as they were drawn. Scalar.

    References:
        Kim and Mnih, Disentangling by Factorising, 2018, eq. 3.
    """
    return logits.mean()


def density_ratio_loss(drawn: Tensor, permuted: Tensor) -> Tensor:
    """Loss of the discriminator: mean of the costs of taking the ones for the others. Scalar, nats; ln 2 by chance.

    Args:
        drawn: Logits of latents as they were drawn, ``(B,)``; to be high.
        permuted: Logits of latents with shuffled dimensions, ``(B,)``; to be low.
    """
    return 0.5 * (F.softplus(-drawn).mean() + F.softplus(permuted).mean())
