"""An explicit KL weight on the command line beats the one in a checkpoint."""

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import HasBeta, HasSchedule, offers, require

__all__ = ["BetaOverride"]


class BetaOverride(L.Callback):
    """Sets ``model.beta`` once, after a checkpoint was restored and before the first batch.

    A callback that evolves beta goes on from the new value; a schedule or controller would overwrite it at once, so
    that combination is refused.

    Args:
        beta: The weight, at least 0.

    Raises:
        ConfigError: The weight is negative, a schedule writes it at every step, or the model has none.
    """

    def __init__(self, beta: float) -> None:
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not beta >= 0:
            raise ConfigError(f"`beta` must be a KL weight of 0 or more, got {beta}.")
        self.beta = beta

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Override."""
        model = require(pl_module, HasBeta, f"`beta={self.beta:g}`", "Leave `beta` out, or choose a VAE or VAE-GAN")
        if offers(pl_module, HasSchedule) and pl_module.schedule is not None:
            writer = type(pl_module.schedule).__name__
            raise ConfigError(f"`beta={self.beta:g}` has no effect: {writer} computes beta at every step; change that.")
        stored = float(model.beta)
        model.beta.fill_(self.beta)
        rank_zero_info(f"beta = {self.beta:g} from the command line overrides {stored:g}")
