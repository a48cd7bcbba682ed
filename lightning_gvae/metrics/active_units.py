"""Active units: the number of latent dimensions that carry information."""

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["ActiveUnits"]


class ActiveUnits(Metric):
    r"""Number of latent dimensions whose posterior mean varies over the data.

    .. math:: A = \#\{ j : \mathrm{Var}_x(\mu_j(x)) \ge \theta \}

    Variances are accumulated in fp64, so that the number of images is not bounded by memory.

    Args:
        latent_dim: Z.
        threshold: :math:`\theta`; 0.01 is the usual value.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, section 5.2.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, latent_dim: int, threshold: float = 0.01) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(latent_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros(latent_dim, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, means: Tensor) -> None:
        """Add posterior means ``(B, Z)``."""
        means = means.detach().to(self.total)
        self.count += len(means)
        self.total += means.sum(0)
        self.squares += means.square().sum(0)

    def variances(self) -> Tensor:
        """Variance of the posterior mean per dimension, ``(Z,)``."""
        return self.squares / self.count - (self.total / self.count).square()

    def compute(self) -> Tensor:
        """Number of active dimensions, a scalar integer."""
        return (self.variances() >= self.threshold).sum()
