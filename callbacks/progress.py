"""One bar from the first optimiser step to the last."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

__all__ = ["StepProgress"]

SHOWN = {
    "train/elbo": "elbo",
    "train/kl": "kl",
    "train/beta": "beta",
    "train/d_real": "D(x)",
    "train/d_prior": "D(fake)",
}


class StepProgress(ProgressBar):
    """Progress over optimiser steps, with ELBO and KL (nats per image), beta and D(x) of the last log step.

    Lightning's bars restart with every epoch, which says little when a run is counted in steps: an epoch of a small
    set is a blink, one of dSprites longer than many a run. Evaluation runs get a bar over batches.

    Args:
        refresh_rate: Steps between two updates of the bar; writing to a terminal is not free.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self.bar: Any = None
        self._enabled = True

    def enable(self) -> None:
        """Show the bar."""
        self._enabled = True

    def disable(self) -> None:
        """Hide the bar; ranks above 0 are asked to."""
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar at the step that training starts or goes on from."""
        total = trainer.estimated_stepping_batches
        self._open("train", None if total == float("inf") else int(total), trainer.global_step, "step")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Move on; show new values only when there are some."""
        step = trainer.global_step
        if step == self.bar.n or step % self.refresh_rate:
            return
        # Metrics change at log steps only, and reading them waits for the device.
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and step % every < self.refresh_rate:
            metrics = trainer.callback_metrics
            shown = {short: f"{float(metrics[name]):.4g}" for name, short in SHOWN.items() if name in metrics}
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Complete and close the bar."""
        self.bar.update(trainer.global_step - self.bar.n)
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open a bar over the test batches."""
        self._open("test", int(sum(trainer.num_test_batches)), 0, "batch")

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Move on."""
        self.bar.update(1)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message starts on its own line."""
        self._close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._enabled:
            tqdm.write(" ".join(str(arg) for arg in args))

    def _open(self, label: str, total: int | None, initial: int, unit: str) -> None:
        # A log file gets a line every ten seconds, a terminal a lively bar.
        interval = 0.2 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(
            desc=label,
            total=total,
            initial=initial,
            unit=unit,
            disable=not self._enabled,
            mininterval=interval,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
