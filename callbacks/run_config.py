"""Checkpoints that know how they were made."""

from typing import Any

import lightning as L

__all__ = ["RunConfig"]


class RunConfig(L.Callback):
    """Puts the run's configuration into every checkpoint, so that model and data can be re-created from the file.

    Args:
        config: Plain containers only (dicts, lists, strings, numbers), so that ``weights_only=True`` can read them.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration."""
        checkpoint["gvae_config"] = self.config
