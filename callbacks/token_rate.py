"""Training speed of a text model, in words a second."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.lightning_compat import logger_step, loggers_are_due
from lightning_gvae.loggers.scalars import send_scalars

__all__ = ["TokenRate"]


class TokenRate(L.Callback):
    """Gives the loggers ``train/tokens_per_second`` at every log step and says the mean of the fit when it ends.

    Words of all ranks are counted, ``<eos>`` with them and padding without; validation and checkpoints are not timed.
    It says how long things took, which differs from run to run, so it is no metric of the run: neither History nor a
    checkpoint has it, and a resumed run still equals the uninterrupted one.
    """

    def __init__(self) -> None:
        self.tokens, self.seconds = 0, 0.0
        self._recent_tokens: Tensor | int = 0  # on the device until it is asked for
        self._recent_seconds = 0.0
        self._started: float | None = None

    @property
    def rate(self) -> float:
        """Mean over the fit so far, tokens a second on one rank."""
        return self.tokens / max(self.seconds, 1e-9)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self.__init__()  # type: ignore[misc]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock, unless it runs since the last batch."""
        if self._started is None:
            self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and hand the rate to the loggers at log steps."""
        now = time.perf_counter()
        self._recent_tokens = self._recent_tokens + batch[1].sum()
        if self._started is not None:
            self._recent_seconds += now - self._started
        self._started = now
        if loggers_are_due(trainer):
            rate = trainer.world_size * int(self._recent_tokens) / max(self._recent_seconds, 1e-9)
            self._fold()
            send_scalars(trainer, {"train/tokens_per_second": rate}, logger_step(trainer), save=False)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._started = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say the mean."""
        self._fold()
        rank_zero_info(f"{trainer.world_size * self.rate:,.0f} tokens a second in training")

    def _fold(self) -> None:
        self.tokens, self.seconds = self.tokens + int(self._recent_tokens), self.seconds + self._recent_seconds
        self._recent_tokens, self._recent_seconds = 0, 0.0
