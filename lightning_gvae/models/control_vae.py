"""ControlVAE: a PI controller holds the KL at a set-point."""

from collections.abc import Sequence
from typing import Any

from lightning_gvae.models.vae import VAE
from lightning_gvae.schedules import PIController

__all__ = ["ControlVAE"]


class ControlVAE(VAE):
    """VAE whose KL weight is set by a PI controller at every step, so that the KL stays at ``target_kl``.

    The controller, with the defects of the published code removed, is
    :class:`~lightning_gvae.schedules.PIController`. Under several ranks it sees their mean KL.

    Args:
        image_shape: ``(C, H, W)``.
        target_kl: Set-point, nats.
        kp: Proportional gain.
        ki: Integral gain, negative.
        beta_min: Lower bound of beta; the authors use 1 on dSprites, 0 on CelebA and text.
        beta_max: Upper bound of beta; the authors use infinity on dSprites, 1 on CelebA and text.
        ramp_start: Set-point at step 0 if it shall rise in a staircase; ``None`` holds it constant.
        ramp_increment: Nats per step of the staircase.
        ramp_period: Optimiser steps per step of the staircase.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`.

    Raises:
        ConfigError: No positive set-point, or gains or bounds out of range.

    References:
        Shao et al., ControlVAE: Controllable Variational Autoencoder, 2020.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        target_kl: float | None,
        kp: float = 0.01,
        ki: float = -0.001,
        beta_min: float = 0.0,
        beta_max: float = 100.0,
        ramp_start: float | None = None,
        ramp_increment: float = 0.15,
        ramp_period: int = 5000,
        **kwargs: Any,
    ) -> None:
        controller = PIController(target_kl, kp, ki, beta_min, beta_max, ramp_start, ramp_increment, ramp_period)
        super().__init__(image_shape, schedule=controller, **kwargs)
