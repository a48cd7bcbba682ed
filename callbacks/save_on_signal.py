"""Saves and ends a run in good order when it is told to go."""

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.lightning_compat import is_accumulating

__all__ = ["SaveOnSignal"]

EVERY = 10  # steps between two looks at the other ranks' signals, which cost a message each


class SaveOnSignal(L.Callback):
    """On SIGTERM, or the signal that SLURM sends before it takes the machine back, saves and ends the run.

    The signal is only noted. The optimiser step under way is completed, ``LastCheckpoint`` saves, and before the next
    step the run ends: a run that goes on from there equals the uninterrupted one. A validation that is due at that step
    still takes place; figures, test and scores do not. With several processes each notes its own signal, and all stop
    at the same step soon after one of them was told. The second signal of a kind ends the process at once.

    Args:
        signals: Names of the signals. SLURM's is chosen by ``sbatch --signal=SIGUSR1@120``.

    Raises:
        ConfigError: There is no such signal; when a fit starts: the run has no LastCheckpoint.
        StoppedError: The run has been told to go, and has saved.
    """

    def __init__(self, signals: Sequence[str] = ("SIGTERM", "SIGUSR1")) -> None:
        known = {item.name for item in signal.Signals}
        if unknown := [name for name in signals if name not in known]:
            raise ConfigError(f"`signals` must be names of signals such as SIGTERM, got {', '.join(map(str, unknown))}")
        self.signals = [signal.Signals[name] for name in signals]
        self._received: signal.Signals | None = None
        self._saved: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning, whose handlers would stop between any two instructions.

        Raises:
            ConfigError: The run has no LastCheckpoint.
        """
        self._received = self._saved = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._last(trainer)
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.signals}

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
        if self._saved is None:
            return
        name = self._received.name if self._received is not None else "a signal to another rank"
        rank_zero_info(f"{name}: saved {self._saved} at optimiser step {trainer.global_step}.")
        raise StoppedError(
            f"the run was told to stop ({name}) and did so after optimiser step {trainer.global_step}; "
            f"ckpt_path={self._saved} goes on from there."
        )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back; Lightning does not call ``teardown`` then."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received == number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
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


def _any_rank(trainer: L.Trainer, told: bool) -> bool:
    if trainer.world_size == 1:
        return told
    if trainer.global_step % EVERY:
        return False
    flag = torch.tensor(float(told), device=trainer.strategy.root_device)
    return bool(trainer.strategy.reduce(flag, reduce_op="sum") > 0)
