"""A look ahead at the scores that are to be computed after the training."""

from collections.abc import Sequence

import lightning as L

from lightning_gvae.evaluation.suite import Suite

__all__ = ["ScoreCheck"]


class ScoreCheck(L.Callback):
    """Refuses, before the first step, a run none of whose scores can be computed after its last one.

    Args:
        names: As for :meth:`~lightning_gvae.evaluation.suite.Suite.measure`.
        suite: Settings of the scores.

    Raises:
        ConfigError: When the fit starts: model and data allow none of the scores that were named.
    """

    def __init__(self, names: Sequence[str] | str, suite: Suite) -> None:
        self.names, self.suite = names, suite

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the scores what they need; the data are set up by now."""
        self.suite.check(self.names, pl_module, trainer.datamodule)  # type: ignore[attr-defined]
