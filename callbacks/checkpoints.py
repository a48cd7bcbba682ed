"""The checkpoints of a run: the best one, and one to go on from."""

import os
import re
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.validation_schedule import ValidationSchedule
from lightning_gvae.errors import ConfigError, GvaeError
from lightning_gvae.io.files import replace_file
from lightning_gvae.lightning_compat import (
    is_accumulating,
    is_between_batches,
    restore_logger_step,
    run_ends_here,
    validation_follows,
)
from lightning_gvae.training.checkpoint_io import WholeCheckpoints

__all__ = ["BestCheckpoint", "LastCheckpoint"]

BEST = "best"
BEST_FILE = f"{BEST}.ckpt"
FIELD = re.compile(r"\{([^}:]+)")  # of a file name: {step}, {val/elbo:.2f}


class _Checkpoint(ModelCheckpoint):
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


class BestCheckpoint(_Checkpoint):
    """Lightning's ``ModelCheckpoint`` that always leaves ``best.ckpt``, the best of all it has saved.

    With another ``filename``, or with more than one file kept (``save_top_k``), ``best.ckpt`` is a second name of the
    best of them. Files that are kept side by side are told apart by their step, which is added to a name without it.
    Metrics with a slash stand in names with an underscore, or they would make folders. Nothing is saved between two
    optimiser steps, where the gradients gathered so far would be lost.

    Args:
        filename: Name of the files without ``.ckpt``; ``{step}``, ``{epoch}`` and metrics such as ``{val/elbo:.2f}``
            are filled in.
        monitor: Metric that says which is best.
        mode: ``min`` or ``max``.
        save_top_k: Files kept; -1 keeps all, 0 none, and no ``best.ckpt`` either.
        settings: Everything else that ``ModelCheckpoint`` takes.

    Raises:
        ConfigError: After a validation: there is no metric of that name.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        filename: str | None = BEST,
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
        **settings: Any,
    ) -> None:
        if filename is not None and save_top_k not in (0, 1) and "step" not in FIELD.findall(filename):
            filename += "-{step}"
        if filename is not None and settings.pop("auto_insert_metric_name", True):
            filename = FIELD.sub(lambda field: f"{field[1].replace('/', '_')}={field[0]}", filename)
            settings["auto_insert_metric_name"] = False
        super().__init__(dirpath, filename, monitor, mode=mode, save_top_k=save_top_k, **settings)
        self._named = ""  # what best.ckpt is a second name of
        self._earlier: Path | None = None  # best.ckpt of the run that this one goes on from

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save if it is time, after the optimiser step."""
        if not (pl_module.automatic_optimization and is_accumulating(trainer)):
            super().on_train_batch_end(trainer, pl_module, *args)
            self._name_best(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if it is time."""
        super().on_train_epoch_end(trainer, pl_module)
        self._name_best(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save if this validation is the best, or one of the best.

        Raises:
            ConfigError: There is no metric of the name ``monitor``.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        known = (None, "step", "epoch", *trainer.callback_metrics)
        if fitting and self.save_top_k != 0 and self.monitor not in known:
            there = ", ".join(sorted(name for name in trainer.callback_metrics if not name.startswith("kl/")))
            raise ConfigError(
                f"`callbacks.best_checkpoint.monitor` must be the name of a metric of this run, got {self.monitor!r}; "
                f"there are: {there}."
            )
        super().on_validation_end(trainer, pl_module)
        self._name_best(trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far; in another folder it counts until this run finds one of its own."""
        super().load_state_dict(state_dict)
        if state_dict.get("dirpath", self.dirpath) != self.dirpath:
            self._earlier, self.best_model_path = Path(str(state_dict.get("dirpath"))) / BEST_FILE, ""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the earlier ``best.ckpt`` if no validation came after it: the run in one piece has that one too."""
        best = Path(str(self.dirpath)) / BEST_FILE
        if trainer.is_global_zero and self._earlier is not None and self._earlier.is_file() and not best.exists():
            replace_file(best, lambda beside: _link(Path(str(self._earlier)), beside))

    def _name_best(self, trainer: L.Trainer) -> None:
        """Let ``best.ckpt`` be the best of the files."""
        found = self.best_model_path
        if found in ("", self._named) or not trainer.is_global_zero or "://" in found or not Path(found).is_file():
            return
        best = Path(str(self.dirpath)) / BEST_FILE
        if best != Path(found):
            replace_file(best, lambda beside: _link(Path(found), beside))
        self._named = found


class LastCheckpoint(_Checkpoint):
    """Keeps ``last.ckpt`` at most ``every_n_train_steps`` optimiser steps old, and up to date when training ends.

    Lightning's own ``save_last`` leaves the steps since the last multiple of the interval unsaved. However the run
    ends, by its steps, epochs or time, because a callback stops it, or by a signal (``SaveOnSignal``), ``last.ckpt`` is
    of its last step. After an error it is, if that came between two steps; within a step weights and random states may
    be half changed, and the checkpoint before stays.

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
        self._resumed = False
        self._stop_held = False

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note that the run goes on."""
        self._resumed = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin a new epoch after a checkpoint of an epoch's last batch.

        Lightning counts that epoch as finished and still goes on as if within it: the next one would have no start, its
        hooks would not be called, and a second resumption would start from counters that are one short.
        """
        super().on_train_start(trainer, pl_module)
        self._stop_held = False
        loop = trainer.fit_loop
        if loop.restarted_mid_epoch and loop.epoch_progress.current.completed == loop.epoch_progress.current.ready:
            loop.reset_restart_stage()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let the loggers of a run that goes on count from where it was."""
        if self._resumed:
            restore_logger_step(trainer)
            self._resumed = False

    @property
    def path(self) -> str:
        """Path of ``last.ckpt``."""
        return f"{self.dirpath}/{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save at every multiple of the interval and at the step after which training stops, its validation included.

        The last step is saved here and not in ``on_train_end``: from there Lightning takes the epoch for finished,
        and a run resumed with more steps would train on nothing.
        """
        if pl_module.automatic_optimization and is_accumulating(trainer):
            # Gradients gathered so far are in no checkpoint: who wants the run to stop waits for the step.
            self._stop_held, trainer.should_stop = self._stop_held or trainer.should_stop, False
            return
        trainer.should_stop, self._stop_held = trainer.should_stop or self._stop_held, False
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        step = trainer.global_step
        regular, asked = step % self.interval == 0, self.save_at_step == step
        # Whoever stops the run has had his turn: Lightning puts checkpoints last.
        if not (regular or asked or run_ends_here(trainer)) or self._saved_at >= step:
            return
        if not asked and validation_follows(trainer):
            self._due_at = step  # a run resumed from before the validation would leave that one out
        else:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what is due at this very step, or renew it; also if this validation stops the run."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.fast_dev_run or trainer.global_step == 0:  # type: ignore[attr-defined]
            return
        if trainer.global_step in (self._due_at, self._saved_at) or run_ends_here(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate and save what the end of an epoch has made the last step, as an EarlyStopping that looks there."""
        if trainer.fast_dev_run or trainer.global_step == 0 or not run_ends_here(trainer):  # type: ignore[attr-defined]
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ValidationSchedule):
                callback.validate_at_end(trainer)
        if self._saved_at < trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing is left to save."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the file itself where a run in a new folder had nothing left to train."""
        source = Path(str(trainer.ckpt_path or ""))
        if trainer.is_global_zero and source.is_file() and not Path(self.path).exists():
            files = trainer.strategy.checkpoint_io
            files.save_checkpoint(files.load_checkpoint(source, weights_only=True), self.path)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save the steps since the last time if the error came between two batches, as from the data do.

        With several processes nothing is saved: the others may be anywhere.
        """
        if trainer.state.fn != TrainerFn.FITTING or trainer.fast_dev_run or trainer.world_size > 1:  # type: ignore[attr-defined]
            return
        if trainer.global_step <= self._saved_at or not is_between_batches(trainer):
            return
        try:
            self._save(trainer)
        except GvaeError as error:  # the first error is the one to report
            rank_zero_info(f"The last step was not saved: {error}")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let every checkpoint of an epoch that was broken off say so.

        Lightning counts the epoch as done as soon as its loop has ended, be it that a callback has stopped it in the
        middle: a run that went on from there would begin the next one.
        """
        batches = trainer.fit_loop.epoch_loop.batch_progress
        loop = checkpoint.get("loops", {}).get("fit_loop", {})
        for part in ("current", "total") if not batches.is_last_batch and batches.current.ready else ():
            progress = loop.get("epoch_progress", {}).get(part, {})
            if progress and progress["processed"] == progress["started"]:
                progress["processed"] -= 1
                progress["completed"] = min(progress["completed"], progress["processed"])

    def _save(self, trainer: L.Trainer) -> None:
        self.last_model_path = self.path  # before saving, since it is part of the state
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at = trainer.global_step
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)


def _link(source: Path, beside: Path) -> None:
    """A second name of a file; a copy where the file system has none."""
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
