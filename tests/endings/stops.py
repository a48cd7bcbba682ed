"""Callbacks that end a run at a chosen batch: by asking it to stop, by an error, or by a signal."""

import os
import time
from pathlib import Path
from signal import Signals

import lightning as L


class _AtBatch(L.Callback):
    """Acts once, in a hook, when so many batches have begun in this fit."""

    def __init__(self, batch=None, hook="on_train_batch_end"):
        self.batch, self.hook, self.seen, self.done = batch, hook, 0, False

    def act(self, trainer):
        raise NotImplementedError

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen += 1
        self.look(trainer, "on_train_batch_start")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.look(trainer, "on_train_batch_end")

    def on_validation_start(self, trainer, pl_module):
        self.look(trainer, "on_validation_start")

    def on_train_epoch_end(self, trainer, pl_module):
        self.look(trainer, "on_train_epoch_end")

    def look(self, trainer, hook):
        if hook == self.hook and self.seen >= self.batch and not self.done:
            self.done = True
            self.act(trainer)


class AskToStop(_AtBatch):
    """Sets ``trainer.should_stop``, as a Timer does."""

    def act(self, trainer):
        trainer.should_stop = True


class Fail(_AtBatch):
    """Raises an error that nobody expects."""

    def act(self, trainer):
        raise RuntimeError("out of luck")


class Slow(L.Callback):
    """Lets every batch take a twentieth of a second."""

    def on_train_batch_end(self, trainer, pl_module, *args):
        time.sleep(0.05)


class Signal(_AtBatch):
    """Sends this process a signal."""

    def __init__(self, signal, **settings):
        super().__init__(**settings)
        self.number = Signals[signal]

    def act(self, trainer):
        os.kill(os.getpid(), self.number)


class Linger(L.Callback):
    """Leaves a file and waits, in a hook outside the training steps, so that a signal can be sent there."""

    def __init__(self, file, hook):
        self.file, self.hook = file, hook

    def wait(self, hook):
        if hook == self.hook:
            Path(self.file).touch()
            time.sleep(60)

    def on_fit_start(self, trainer, pl_module):
        self.wait("on_fit_start")

    def on_fit_end(self, trainer, pl_module):
        self.wait("on_fit_end")

    def on_test_start(self, trainer, pl_module):
        self.wait("on_test_start")


class Stuck(L.Callback):
    """Leaves a file and waits within a step."""

    def __init__(self, file):
        self.file = file

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        Path(self.file).touch()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(1)
