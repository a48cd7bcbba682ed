"""A look ahead at the scores that are to be computed after the training."""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.interfaces import DataModule, require
from lightning_gvae.lightning_compat import datamodule_of

__all__ = ["ScoreCheck", "refuse_sharded"]


class ScoreCheck(L.Callback):
    """Refuses, before the first step, a run none of whose scores can be computed after its last one.

    Args:
        names: As for :meth:`~lightning_gvae.evaluation.suite.Suite.measure`.
        suite: Settings of the scores.

    Raises:
        ConfigError: When the fit starts: the strategy shards the weights, or model and data allow none of the scores
            that were named.
    """

    def __init__(self, names: Sequence[str] | str, suite: Suite) -> None:
        self.names, self.suite = names, suite

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the scores what they need; the data are set up by now."""
        refuse_sharded(trainer)
        self.suite.check(self.names, pl_module, scored_data(trainer))


def scored_data(trainer: L.Trainer) -> DataModule:
    """Data module of a run with scores.

    Raises:
        ConfigError: There is none, or it lacks a part.
    """
    remedy = "Fit with `datamodule=`, or leave `metrics` and `callbacks.scores` out"
    return require(datamodule_of(trainer), DataModule, "a score", remedy)


def refuse_sharded(trainer: L.Trainer) -> None:
    """Refuse scores under a strategy that leaves no process with whole weights.

    Raises:
        ConfigError: It does.
    """
    strategy = trainer.strategy
    if isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
        raise ConfigError(
            f"scores are computed with whole weights, `trainer.strategy` {type(strategy).__name__} may shard "
            "them; leave "
            "`metrics` and `callbacks.scores` out, and evaluate the checkpoint with eval.py"
        )
