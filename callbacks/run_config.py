"""Checkpoints that know how they were made, and what had been measured by then."""

from typing import Any

import lightning as L

__all__ = ["RunConfig"]


class RunConfig(L.Callback):
    """Puts the run's configuration into every checkpoint, so that model and data can be re-created from the file.

    The latest value of every metric is put there too: a run that goes on ends with the metrics of the uninterrupted
    one, also with those that nothing after the checkpoint has measured again.

    Args:
        config: Plain containers only (dicts, lists, strings, numbers), so that ``weights_only=True`` can read them.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.metrics: dict[str, float] = {}  # as they were in the checkpoint that the run goes on from

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add configuration and metrics."""
        checkpoint["gvae_config"] = self.config
        checkpoint["gvae_metrics"] = self.latest(trainer)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over the metrics."""
        self.metrics = dict(checkpoint.get("gvae_metrics", {}))

    def latest(self, trainer: L.Trainer) -> dict[str, float]:
        """Latest value of every metric that a fit has measured, those before a resumption included.

        The KL of single latents (``kl/0`` and so on) is left out: it is drawn as a figure, a number a latent tells nobody.
        """
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if not name.startswith("kl/")}
        return self.metrics | found
