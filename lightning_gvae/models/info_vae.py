"""InfoVAE: the distance of the aggregate posterior from the prior has a weight of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from lightning_gvae.errors import checked_choice, checked_number
from lightning_gvae.losses.mmd import Kernel, mmd
from lightning_gvae.models.penalised_vae import PenalisedVAE

__all__ = ["InfoVAE"]


class InfoVAE(PenalisedVAE):
    r"""VAE with the maximum mean discrepancy of its latents from the prior, :math:`L = D + \beta R + w\,\mathrm{MMD}`.

    In the paper's letters :math:`\beta = 1 - \alpha` and :math:`w = \alpha + \lambda - 1`; at ``beta=0`` it is the
    MMD-VAE, a Wasserstein autoencoder.

    Args:
        image_shape: ``(C, H, W)``.
        beta: KL weight, at least 0.
        mmd_weight: w, at least 0. The discrepancy is at most 2, so useful weights are large.
        kernel: ``rbf`` or ``imq``, see :func:`~lightning_gvae.losses.mmd.mmd`.
        bandwidth: Of the kernel, positive, a squared distance; ``None`` is 2 Z.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: A weight is negative, there is no such kernel, or ``prior`` is learnt.

    References:
        Zhao, Song and Ermon, InfoVAE: Balancing Learning and Inference in Variational Autoencoders, 2019, eq. 6.
    """

    mmd_weight: Tensor
    loss_weights = ("beta", "mmd_weight")
    penalty_names = ("mmd",)
    penalised: ClassVar[Mapping[str, str]] = {"mmd_weight": "mmd"}

    def __init__(
        self,
        image_shape: Sequence[int],
        beta: float = 1.0,
        mmd_weight: float = 100.0,
        kernel: Kernel = "rbf",
        bandwidth: float | None = None,
        **kwargs: Any,
    ) -> None:
        checked_choice("kernel", kernel, get_args(Kernel))
        if bandwidth is not None:
            checked_number("bandwidth", bandwidth, lambda v: 0 < v < float("inf"), "must be a positive number or null")
        super().__init__(image_shape, beta=beta, **kwargs)
        self.kernel, self.bandwidth = kernel, bandwidth
        self._register_weights(mmd_weight=mmd_weight)

    def penalties(
        self, latents: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Discrepancy between the latents of the batch and as many draws from the prior."""
        prior = torch.randn(latents.shape, device=latents.device, generator=generator)
        return {"mmd": mmd(latents, prior, self.kernel, self.bandwidth)}
