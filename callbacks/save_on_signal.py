"""Saves and ends a run in good order when it is told to go."""

import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any

import lightning as L
import torch

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.lightning_compat import is_accumulating
from lightning_gvae.stopping import SIGNALS, end_at_once, give_back, take_over, tell

__all__ = ["SaveOnSignal"]

EVERY = 10  # steps between two looks at the other ranks' signals, which cost a message each


class SaveOnSignal(L.Callback):
    """On Ctrl-C, SIGTERM, a closed terminal, or SLURM's warning that the time is up, saves and ends the run.

    The signal is only noted. The optimiser step under way is completed, ``LastCheckpoint`` saves, and before the next
    step the run ends: a run that goes on from there equals the uninterrupted one. A validation that is due at that step
    still takes place; figures, test and scores do not. With several processes each notes its own signal, and all stop
    at the same step soon after one of them was told. The second signal of a kind ends the process at once.

    A signal that the process was started to ignore stays ignored, as SIGHUP under ``nohup``.

    Args:
        signals: Names of the signals. SLURM's is chosen by ``sbatch --signal=SIGUSR1@120``.

    Raises:
        ConfigError: There is no such signal; when a fit starts: the run has no LastCheckpoint.
        StoppedError: The run has been told to go, and has saved.
    """

    def __init__(self, signals: Sequence[str] = SIGNALS) -> None:
        known = {item.name for item in signal.Signals}
        if unknown := [name for name in signals if name not in known]:
            raise ConfigError(f"`signals` must be names of signals such as SIGTERM, got {', '.join(map(str, unknown))}")
        self.signals = [signal.Signals[name] for name in signals]
        self._received: signal.Signals | None = None
        self._saved: str | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._process, self._says = os.getpid(), True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning, whose handlers would stop between any two instructions.

        Raises:
            ConfigError: The run has no LastCheckpoint.
        """
        self._received = self._saved = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._last(trainer)
        self._process, self._says = os.getpid(), trainer.is_global_zero
        self._before = take_over([number.name for number in self.signals], self._note)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Agree with the other ranks; LastCheckpoint, whose turn comes later, saves."""
        if pl_module.automatic_optimization and is_accumulating(trainer):
            return  # gradients gathered so far are in no checkpoint
        if self._saved is None and _any_rank(trainer, self._received is not None):
            last = self._last(trainer)
            last.save_at_step = trainer.global_step
            self._saved = last.path

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End the run before the step that follows the saved one.

        Raises:
            StoppedError: The checkpoint is written.
        """
        if self._saved is not None:
            raise self._stopped(trainer, self._saved)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back; end the run here if one came with its last step.

        Raises:
            StoppedError: The last checkpoint, of the last step, is written.
        """
        self._restore()
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self._saved is not None or _any_rank(trainer, self._received is not None, at_once=True):
            raise self._stopped(trainer, self._last(trainer).path)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back; Lightning does not call ``teardown`` then."""
        self._restore()

    def _stopped(self, trainer: L.Trainer, path: str) -> StoppedError:
        name = self._received.name if self._received is not None else "a signal to another rank"
        return StoppedError(
            f"the run was told to stop ({name}) and did so after optimiser step {trainer.global_step}; "
            f"ckpt_path={path} goes on from there.",
            name,
        )

    def _restore(self) -> None:
        give_back(self._before)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked, of which the step under way may still need something
        if self._received == number:
            end_at_once(number)
        if self._received is None and self._says:
            name = signal.Signals(number).name
            tell(f"{name}: completing this step, then saving and ending the run; a second one ends it at once.")
        self._received = signal.Signals(number)

    @staticmethod
    def _last(trainer: L.Trainer) -> LastCheckpoint:
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, LastCheckpoint):
                return callback
        raise ConfigError(
            "SaveOnSignal saves by LastCheckpoint, which this run lacks; add it, or leave SaveOnSignal out "
            "(~callbacks.save_on_signal)."
        )


def _any_rank(trainer: L.Trainer, told: bool, at_once: bool = False) -> bool:
    if trainer.world_size == 1:
        return told
    if trainer.global_step % EVERY and not at_once:
        return False
    flag = torch.tensor(float(told), device=trainer.strategy.root_device)
    return bool(trainer.strategy.reduce(flag, reduce_op="sum") > 0)
