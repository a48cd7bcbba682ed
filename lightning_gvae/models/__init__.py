"""LightningModules, one a file; each is usable in plain Python without Hydra.

- :class:`~lightning_gvae.models.vae.VAE`: the base of all; KL weight constant or by any schedule, free bits.
- :class:`~lightning_gvae.models.beta_vae.BetaVAE`: a constant KL weight above 1.
- :class:`~lightning_gvae.models.capacity_vae.CapacityVAE`: the distance of the KL from a growing capacity.
- :class:`~lightning_gvae.models.control_vae.ControlVAE`: a PI controller holds the KL at a set-point.
- :class:`~lightning_gvae.models.evae.EVAE`: the KL weight is evolved by the callback ``BetaEvolution``.
"""

from lightning_gvae.models.beta_vae import BetaVAE
from lightning_gvae.models.capacity_vae import CapacityVAE
from lightning_gvae.models.control_vae import ControlVAE
from lightning_gvae.models.evae import EVAE
from lightning_gvae.models.vae import VAE

__all__ = ["EVAE", "VAE", "BetaVAE", "CapacityVAE", "ControlVAE"]
