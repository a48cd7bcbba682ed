"""eVAE: the KL weight evolves while the model trains."""

from lightning_gvae.errors import ConfigError
from lightning_gvae.models.vae import VAE

__all__ = ["EVAE"]


class EVAE(VAE):
    """VAE whose KL weight is left to evolution, that is, to the callback ``BetaEvolution``.

    The model itself is a :class:`~lightning_gvae.models.vae.VAE` without a schedule; it only insists on its callback,
    because without one it would silently train at a constant weight.

    Args:
        image_shape: ``(C, H, W)``.
        kwargs: Further arguments of :class:`~lightning_gvae.models.vae.VAE`; ``beta`` is the initial weight.

    Raises:
        ConfigError: At the start of the fit, if no callback evolves ``beta``, or a schedule is given.

    References:
        Wu, Cao and Qi, eVAE: Evolutionary Variational Autoencoder, 2022 (the idea; the algorithm here is our own
        specification, see docs/evae.md).
    """

    def on_fit_start(self) -> None:
        """Check that something evolves ``beta``."""
        if self.beta_writer is None:
            raise ConfigError(
                "EVAE needs something that evolves `beta`: add BetaEvolution(...) to the Trainer's callbacks "
                "(model=evae does), or use VAE for a constant weight."
            )
        super().on_fit_start()
