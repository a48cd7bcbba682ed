"""beta-VAE: a constant KL weight."""

from collections.abc import Sequence
from typing import Any

from lightning_gvae.models.vae import VAE

__all__ = ["BetaVAE"]


class BetaVAE(VAE):
    r"""VAE with a constant KL weight, :math:`L = D + \beta R`; at ``beta=1`` the plain VAE.

    The weight is at the scale of sums over pixels and latents; a weight quoted for means over pixels has to be
    multiplied by pixels / latents first.

    Args:
        image_shape: ``(C, H, W)``.
        beta: KL weight, at least 0; 4 on dSprites in the paper.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    References:
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, 2017, eq. 4.
    """

    def __init__(self, image_shape: Sequence[int], beta: float = 4.0, **kwargs: Any) -> None:
        super().__init__(image_shape, beta=beta, **kwargs)
