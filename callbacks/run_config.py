"""Checkpoints that know how they were made, and what had been measured by then."""

from collections.abc import Mapping
from typing import Any

import lightning as L

from lightning_gvae.errors import CheckpointError

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
        self.resumed_at = 0  # optimiser step of that checkpoint

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add configuration and metrics."""
        checkpoint["gvae_config"] = self.config
        checkpoint["gvae_metrics"] = self.latest(trainer)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over the metrics.

        Raises:
            CheckpointError: The run goes on with parts cut by another seed: it would train on images held out before.
        """
        before, now = _split_seed(checkpoint.get("gvae_config") or {}), _split_seed(self.config)
        data = self.config.get("data") or {}
        accepted = data.get("if_changed") == "accept"
        if "split_seed" in data and before is not None and before != now and not accepted:
            raise CheckpointError(
                f"the checkpoint's data were cut into parts by the seed {before}, here it is {now}, so that the "
                "run would "
                f"train on images that were held out; go on with data.split_seed={before}"
            )
        self.metrics = _kept(checkpoint.get("gvae_metrics", {}))
        self.resumed_at = int(checkpoint.get("global_step", 0))
        epochs = int(checkpoint.get("epoch", 0))
        if trainer.max_epochs not in (None, -1) and epochs > trainer.max_epochs:
            trainer.fit_loop.max_epochs = epochs  # nothing is left to train, which is no error

    def latest(self, trainer: L.Trainer) -> dict[str, float]:
        """Latest value of every metric that a fit has measured, those before a resumption included.

        The KL of single latents (``kl/0`` and so on) is left out: it is drawn as a figure, a number a latent tells
        nobody.
        """
        return self.metrics | _kept({name: float(value) for name, value in trainer.callback_metrics.items()})


def _kept(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("kl/")}


def _split_seed(config: Mapping[str, Any]) -> int | None:
    """Seed of the parts in a configuration; checkpoints of earlier versions have that of the data alone."""
    data = config.get("data") or {}
    found: int | None = data.get("split_seed")
    return data.get("seed") if found is None else found
