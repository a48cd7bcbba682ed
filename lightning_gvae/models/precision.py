"""The precisions that models train in."""

import lightning as L

from lightning_gvae.errors import ConfigError

__all__ = ["ChecksPrecision", "check_precision"]

REFUSED = ("64-true", "bf16-true", "16-true")


def check_precision(precision: str) -> None:
    """Refuse a precision that models cannot be trained in: batches, latents and losses are fp32, so weights must be.

    Raises:
        ConfigError: Weights would have another type than fp32.
    """
    if precision in REFUSED:
        raise ConfigError(
            f"`trainer.precision` must be 32-true, bf16-mixed or 16-mixed, got {precision}: images, latents and "
            "losses are "
            "fp32, and weights of another type cannot be multiplied with them."
        )


class ChecksPrecision(L.LightningModule):
    """A module that refuses a precision which it cannot be trained in, before training starts."""

    def setup(self, stage: str) -> None:
        """Check the precision of the Trainer.

        Raises:
            ConfigError: See :func:`check_precision`.
        """
        check_precision(str(self.trainer.precision))
