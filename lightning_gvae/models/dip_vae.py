"""DIP-VAE: the covariance of the latents is pulled to the identity."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from lightning_gvae.errors import checked_choice
from lightning_gvae.losses.covariance import DIPKind, covariance_penalty
from lightning_gvae.models.penalised_vae import PenalisedVAE

__all__ = ["DIPVAE"]


class DIPVAE(PenalisedVAE):
    r"""VAE that penalises covariances of the latents, and variances other than 1.

    .. math:: L = D + \beta R + \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    Kind I: C is the covariance of the posterior means over the batch; kind II adds the mean posterior variances.

    Args:
        image_shape: ``(C, H, W)``.
        beta: KL weight, at least 0.
        off_diagonal: :math:`\lambda_{od}`, at least 0; the authors have 1 to 100.
        diagonal: :math:`\lambda_d`, at least 0; the authors have 10 times ``off_diagonal`` for kind I and as much as it
            for kind II.
        kind: ``I`` or ``II``.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: A weight is negative, there is no such kind, or ``prior`` is learnt.

    References:
        Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, 2018.
    """

    off_diagonal: Tensor
    diagonal: Tensor
    loss_weights = ("beta", "off_diagonal", "diagonal")
    penalty_names = ("off_diagonal_penalty", "diagonal_penalty")
    penalised: ClassVar[Mapping[str, str]] = {"off_diagonal": "off_diagonal_penalty", "diagonal": "diagonal_penalty"}

    def __init__(
        self,
        image_shape: Sequence[int],
        beta: float = 1.0,
        off_diagonal: float = 10.0,
        diagonal: float = 10.0,
        kind: DIPKind = "II",
        **kwargs: Any,
    ) -> None:
        checked_choice("kind", kind, get_args(DIPKind))
        super().__init__(image_shape, beta=beta, **kwargs)
        self.kind = kind
        self._register_weights(off_diagonal=off_diagonal, diagonal=diagonal)

    def penalties(
        self, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Squared covariances, and squared distances of the variances from 1."""
        found = covariance_penalty(mean, log_var, self.kind)
        return {"off_diagonal_penalty": found.off_diagonal, "diagonal_penalty": found.diagonal}
