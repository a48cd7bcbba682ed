"""The checkpoints of a run: the best one, and one to go on from."""

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from lightning_gvae.lightning_compat import validation_follows
from lightning_gvae.training.checkpoint_io import WholeCheckpoints

__all__ = ["BestCheckpoint", "LastCheckpoint"]


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, whose name in checkpoints is composed once and not twelve times a step.

    Its files are written by :class:`~lightning_gvae.training.checkpoint_io.WholeCheckpoints`.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let checkpoints be written whole, unless the Trainer was given a way of its own."""
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()

    @cached_property
    def state_key(self) -> str:
        """Name under which a checkpoint keeps this callback's state."""
        return super().state_key


class LastCheckpoint(BestCheckpoint):
    """Keeps ``last.ckpt`` at most ``every_n_train_steps`` optimiser steps old, and up to date when training ends.

    Lightning's own ``save_last`` leaves the steps since the last multiple of the interval unsaved.

    Args:
        dirpath: Folder of the checkpoints.
        every_n_train_steps: Optimiser steps between two saves.
    """

    def __init__(self, dirpath: str | None = None, every_n_train_steps: int = 500) -> None:
        super().__init__(
            dirpath=dirpath,
            save_top_k=0,
            save_last=True,
            every_n_train_steps=every_n_train_steps,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.interval = every_n_train_steps
        self.save_at_step: int | None = None  # one more, asked for by SaveOnSignal, who cannot wait
        self._due_at: int | None = None
        self._saved_at = 0  # before the first step there is nothing to save

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a new epoch after a checkpoint of an epoch's last batch.

        Lightning counts that epoch as finished and still goes on as if within it: the next one would have no start, its
        hooks would not be called, and a second resumption would start from counters that are one short.
        """
        super().on_train_start(trainer, pl_module)
        loop = trainer.fit_loop
        if loop.restarted_mid_epoch and loop.epoch_progress.current.completed == loop.epoch_progress.current.ready:
            loop.reset_restart_stage()

    @property
    def path(self) -> str:
        """Path of ``last.ckpt``."""
        return f"{self.dirpath}/{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save at every multiple of the interval and at the step after which training stops, its validation included.

        The last step is saved here and not in ``on_train_end``: from there Lightning takes the epoch for finished,
        and a run resumed with more steps would train on nothing.
        """
        step = trainer.global_step
        regular = step % self.interval == 0 and not trainer.fast_dev_run  # type: ignore[attr-defined]
        asked = self.save_at_step == step
        if not (regular or asked or self._is_final(trainer)) or self._saved_at >= step:
            return
        if not asked and validation_follows(trainer):
            self._due_at = step  # a run resumed from before the validation would leave that one out
        else:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what is due at this very step, or renew it."""
        due = trainer.global_step in (self._due_at, self._saved_at)
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step > 0 and due:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Does nothing: all is saved."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the file itself where a run in a new folder had nothing left to train."""
        source = Path(str(trainer.ckpt_path or ""))
        if trainer.is_global_zero and source.is_file() and not Path(self.path).exists():
            files = trainer.strategy.checkpoint_io
            files.save_checkpoint(files.load_checkpoint(source, weights_only=True), self.path)

    def _save(self, trainer: L.Trainer) -> None:
        self.last_model_path = self.path  # before saving, since it is part of the state
        trainer.save_checkpoint(self.path)
        self._saved_at = trainer.global_step
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    @staticmethod
    def _is_final(trainer: L.Trainer) -> bool:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        # `should_stop` is set by callbacks that come before: Lightning puts checkpoints last.
        return trainer.should_stop or trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch)
