"""Processes that a study has started: told to stop when the study is."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from lightning_gvae.errors import StoppedError
from lightning_gvae.stopping import SIGNALS, STOPPED, give_back, take_over

__all__ = ["CHILDREN", "Children"]


class Children:
    """Runs commands, each in a process and for a thread that waits for it, and passes the wish to stop on to them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, command: Sequence[str], log: TextIO, environment: Mapping[str, str]) -> int:
        """Run a command to its end; its exit status. One that was told to stop, by whomever, stops the others too.

        Raises:
            StoppedError: The study was told to stop before the command began.
        """
        self.check()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._running.add(process)
        if self._stopped:  # meanwhile
            process.terminate()
        try:
            status = process.wait()
        finally:
            self._running.discard(process)
        if status == STOPPED:
            self.stop()
        return status

    def check(self) -> None:
        """Refuse to begin anything after a stop.

        Raises:
            StoppedError: The study was told to stop.
        """
        if self._stopped:
            raise StoppedError("the study was told to stop")

    @contextmanager
    def told_too(self) -> Iterator[None]:
        """Scope in which a signal to this process reaches the commands as SIGTERM, before it does what it does here.

        A Ctrl-C has reached them already, being one to the whole group; a SIGTERM beside it changes nothing for them.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            give_back(before)
            self.stop()
            signal.raise_signal(number)

        self._stopped = False
        before = take_over(SIGNALS, handle)
        try:
            yield
        finally:
            give_back(before)

    def stop(self) -> None:
        """Tell all commands to stop, and start none from here on. For handlers of signals: it waits for nothing."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()


CHILDREN = Children()
