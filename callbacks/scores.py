"""Scores of a whole data set while a model trains."""

from collections.abc import Sequence

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.suite import Suite

__all__ = ["Scores"]


class Scores(L.Callback):
    """Computes the named scores at every so many validations and logs them as ``score/...``.

    Every rank computes the same numbers from the same streams, so nothing is exchanged. No global generator is touched:
    a run with scores trains like one without.

    Args:
        names: As for :meth:`~lightning_gvae.evaluation.suite.Suite.run`.
        suite: Settings of the scores, best cheap ones.
        every_n_validations: Validations from one time to the next, at least 1.

    Raises:
        ConfigError: ``every_n_validations`` is below 1; from the first validation: the run has no data module, or the
            data lack what a score needs.
    """

    def __init__(self, names: Sequence[str] | str, suite: Suite | None = None, every_n_validations: int = 1) -> None:
        if every_n_validations < 1:
            raise ConfigError(f"`every_n_validations` must be at least 1, got {every_n_validations}")
        self.names, self.suite = names, suite or Suite()
        self.every_n_validations = every_n_validations
        self._validations = 0

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute and log, if it is time."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validations += 1
        if self._validations % self.every_n_validations:
            return
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if datamodule is None:
            raise ConfigError(
                "scores need a data module with `spec`, `train_set` and `test_set`; fit with `datamodule=`"
            )
        # Lightning validates in inference mode, in which the classifier of the feature space `domain` cannot be
        # trained.
        with torch.inference_mode(False), torch.enable_grad():
            scores = self.suite.run(self.names, pl_module, datamodule)
        pl_module.log_dict(scores)

    def state_dict(self) -> dict[str, int]:
        """Number of validations so far."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]
