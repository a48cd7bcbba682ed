"""LightningModules, one a file; each is usable in plain Python without Hydra.

- :class:`~lightning_gvae.models.vae.VAE`: the base of all; KL weight constant or by any schedule, free bits.
- :class:`~lightning_gvae.models.beta_vae.BetaVAE`: a constant KL weight above 1.
- :class:`~lightning_gvae.models.capacity_vae.CapacityVAE`: the distance of the KL from a growing capacity.
- :class:`~lightning_gvae.models.control_vae.ControlVAE`: a PI controller holds the KL at a set-point.
- :class:`~lightning_gvae.models.tc_vae.TCVAE`, :class:`~lightning_gvae.models.factor_vae.FactorVAE`,
  :class:`~lightning_gvae.models.info_vae.InfoVAE`, :class:`~lightning_gvae.models.dip_vae.DIPVAE`: losses of several
  weighted terms.
- :class:`~lightning_gvae.models.solve_vae.SolveVAE`: small VAEs of points side by side, the search spaces of SOLVE.
- :class:`~lightning_gvae.models.evae.EVAE`: the KL weight is evolved by the callback ``BetaEvolution``.
- :class:`~lightning_gvae.models.conv_autoencoder.ConvAutoencoder` and its twin ``ConvVAE``: built from a genome, which
  the callback ``ArchitectureEvolution`` evolves.
- :class:`~lightning_gvae.models.multi_rate.MultiRateVAE`: one network for every KL weight of a range.
- :class:`~lightning_gvae.models.text_vae.TextVAE`, ``TextControlVAE``, ``TextEVAE``, ``TextMultiRateVAE``, ``TextLM``:
  sentences.
- :class:`~lightning_gvae.models.gan.GAN`: a generator against a discriminator.
- :class:`~lightning_gvae.models.vae_gan.VAEGAN`: an autoencoder that compares images in a discriminator's features.
"""

from lightning_gvae.models.beta_vae import BetaVAE
from lightning_gvae.models.capacity_vae import CapacityVAE
from lightning_gvae.models.control_vae import ControlVAE
from lightning_gvae.models.conv_autoencoder import ConvAutoencoder, ConvVAE
from lightning_gvae.models.dip_vae import DIPVAE
from lightning_gvae.models.evae import EVAE
from lightning_gvae.models.factor_vae import FactorVAE
from lightning_gvae.models.gan import GAN
from lightning_gvae.models.info_vae import InfoVAE
from lightning_gvae.models.multi_rate import MultiRateVAE
from lightning_gvae.models.solve_vae import SolveVAE
from lightning_gvae.models.tc_vae import TCVAE
from lightning_gvae.models.text_lm import TextLM
from lightning_gvae.models.text_vae import TextVAE
from lightning_gvae.models.text_variants import TextControlVAE, TextEVAE, TextMultiRateVAE
from lightning_gvae.models.vae import VAE
from lightning_gvae.models.vae_gan import VAEGAN

__all__ = [
    "DIPVAE",
    "EVAE",
    "GAN",
    "TCVAE",
    "VAE",
    "VAEGAN",
    "BetaVAE",
    "CapacityVAE",
    "ControlVAE",
    "ConvAutoencoder",
    "ConvVAE",
    "FactorVAE",
    "InfoVAE",
    "MultiRateVAE",
    "SolveVAE",
    "TextControlVAE",
    "TextEVAE",
    "TextLM",
    "TextMultiRateVAE",
    "TextVAE",
]
