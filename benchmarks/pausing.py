"""A Trainer's run that stops between turns."""

from typing import Any

import lightning as L

from benchmarks.turns import Pause

__all__ = ["Pausing"]


class Pausing(L.Callback):
    """Stops a Trainer's run between turns."""

    def __init__(self) -> None:
        self.pause = Pause()

    def on_train_batch_start(self, *args: Any) -> None:
        if not self.pause.step():
            raise SystemExit(0)
