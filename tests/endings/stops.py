"""Callbacks that end a run at a chosen batch: by asking it to stop, by an error, or by a signal."""

import os
import signal
import time

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

    def __init__(self, name, **settings):
        super().__init__(**settings)
        self.number = signal.Signals[name]

    def act(self, trainer):
        os.kill(os.getpid(), self.number)
