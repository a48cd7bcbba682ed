"""Scores of a whole data set while a model trains."""

from collections.abc import Sequence

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gvae.callbacks.score_check import refuse_sharded, scored_data
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.results import ScoreSheet
from lightning_gvae.evaluation.suite import Suite

__all__ = ["Scores"]


class Scores(L.Callback):
    """Computes the named scores at every so many validations and logs them as ``score/...``.

    Every rank computes the same numbers from the same streams, so nothing is exchanged. No global generator is touched:
    a run with scores trains like one without. A score that cannot be computed is left out, and why is said once. Where
    weights are averaged, the averaged ones are scored, as they are validated.

    Args:
        names: As for :meth:`~lightning_gvae.evaluation.suite.Suite.measure`.
        suite: Settings of the scores, best cheap ones.
        every_n_validations: Validations from one time to the next, at least 1.

    Raises:
        ConfigError: ``every_n_validations`` is below 1 or there is no score of a name; when the fit starts: the run has
            no data module, its strategy shards the weights, or model and data allow none of the scores.
    """

    def __init__(self, names: Sequence[str] | str, suite: Suite | None = None, every_n_validations: int = 1) -> None:
        if every_n_validations < 1:
            raise ConfigError(f"`every_n_validations` must be at least 1, got {every_n_validations}")
        self.names, self.suite = names, suite or Suite()
        self.suite.check_names(names)
        self.every_n_validations = every_n_validations
        self._validations = 0
        self._told: set[str] = set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stand before callbacks that average weights, which take the averaged ones back when a validation ends."""
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        averaging = [place for place, other in enumerate(callbacks) if isinstance(other, WeightAveraging)]
        if averaging and averaging[0] < callbacks.index(self):
            # A new list: Lightning is walking along the old one.
            others = [other for other in callbacks if other is not self]
            trainer.callbacks = [*others[: averaging[0]], self, *others[averaging[0] :]]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse scores of which none can be had."""
        refuse_sharded(trainer)
        self.suite.check(self.names, pl_module, scored_data(trainer))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute and log, if it is time."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validations += 1
        if self._validations % self.every_n_validations:
            return
        # Lightning validates in inference mode, in which the classifier of the feature space `domain` cannot be
        # trained.
        with torch.inference_mode(False), torch.enable_grad():
            sheet = self.suite.measure(self.names, pl_module, scored_data(trainer))
        self._tell(sheet)
        pl_module.log_dict(dict(sheet))

    def state_dict(self) -> dict[str, int]:
        """Number of validations so far."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]

    def _tell(self, sheet: ScoreSheet) -> None:
        """Say what was left out and why, unless it has been said."""
        for reason, names in sheet.reasons().items():
            if new := [name for name in names if name not in self._told]:
                rank_zero_warn(f"{', '.join(new)} left out: {reason}")
                self._told.update(new)
