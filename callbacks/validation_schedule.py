"""When a run is validated: intervals in optimiser steps, and at least once."""

from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from lightning_gvae.lightning_compat import run_ends_here, validate_now, validate_on_steps

__all__ = ["ValidationSchedule"]


class ValidationSchedule(L.Callback):
    """Lets ``val_check_interval`` count optimiser steps, and validates a run that would end without a validation.

    A whole number as ``trainer.val_check_interval`` counts optimiser steps: of the run if
    ``trainer.check_val_every_n_epoch`` is null, else of the epoch. Lightning counts batches, of which several make a
    step under gradient accumulation. Validations wait for the step, so that what is saved after them can be gone on
    from.

    A run that ends by plan (its steps, epochs or time are over, or a callback stops it) without having been validated
    is validated after its last step. A run that goes on counts the validations before: it ends as the run in one
    piece.
    """

    def __init__(self) -> None:
        self.validated = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Tell the Trainer when to validate."""
        if stage != "fit":
            return
        self.validated = False
        validate_on_steps(trainer, lambda: not self.validated and run_ends_here(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that there was one."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.validated = True

    def validate_at_end(self, trainer: L.Trainer) -> None:
        """Validate in ``on_train_epoch_end`` if the run ends without; the last callback that could stop it calls."""
        if trainer.enable_validation and not self.validated and trainer.global_step > 0:
            validate_now(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add whether there was a validation."""
        checkpoint["gvae_validated"] = self.validated

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count the validations of the run that is gone on with; checkpoints of release 0.1 have their results only."""
        results = any(name.startswith("val/") for name in checkpoint.get("gvae_metrics", {}))
        self.validated = bool(checkpoint.get("gvae_validated", results))
