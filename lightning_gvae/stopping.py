"""Signals that tell a process to stop, and what they do where no training step is under way.

Within training :class:`~lightning_gvae.callbacks.save_on_signal.SaveOnSignal` takes them over: the step is completed
and saved first.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning_gvae.errors import StoppedError

__all__ = [
    "SIGNALS",
    "STOPPED",
    "Stop",
    "end_at_once",
    "give_back",
    "is_stop",
    "signal_name",
    "stop_signals",
    "stopped_error",
    "take_over",
    "tell",
]

# Ctrl-C; a polite kill, and what SLURM sends when the time is up; a terminal that is closed; SLURM's warning.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
STOPPED = 75  # exit status of a command that was told to stop and can be gone on with (EX_TEMPFAIL of sysexits.h)

Handler = Callable[[int, FrameType | None], Any]


class Stop(BaseException):
    """The process was told to stop, outside a training step.

    No ``Exception``: what goes on after an error, as Hydra with the next job of a multirun, must not go on after this.

    Args:
        name: Of the signal.
    """

    told = False  # whether the command line has said all of it already

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def is_stop(error: BaseException | None) -> bool:
    """Whether an exception means that somebody wants the process to end, and no fault.

    Lightning makes a SystemExit of a KeyboardInterrupt.
    """
    if isinstance(error, SystemExit):
        return isinstance(error.__context__, KeyboardInterrupt | Stop)
    return isinstance(error, Stop | StoppedError | KeyboardInterrupt)


def signal_name(error: BaseException) -> str:
    """Name of the signal behind an exception that :func:`is_stop` knows."""
    return error.name if isinstance(error, Stop | StoppedError) else "SIGINT"


def stopped_error(error: BaseException) -> StoppedError:
    """An exception that :func:`is_stop` knows as the package's own, of which a person has been told."""
    name = signal_name(error)
    found = error if isinstance(error, StoppedError) else StoppedError(f"the run was told to stop ({name}).", name)
    found.told = True
    return found


@contextmanager
def stop_signals(names: Sequence[str] = SIGNALS) -> Iterator[None]:
    """Scope in which the first signal raises :class:`Stop`, wherever the main thread is.

    A second one of the same kind ends the process at once; others are taken for the same wish and do nothing.
    """
    told: list[int] = []
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if number in told or os.getpid() != process:  # a forked process has a copy of this handler
            end_at_once(number)
        told.append(number)
        if len(told) == 1:
            raise Stop(signal.Signals(number).name)

    before = take_over(names, handle)
    try:
        yield
    finally:
        give_back(before)


def take_over(names: Sequence[str], handler: Handler) -> dict[signal.Signals, Any]:
    """Set a handler of signals; the handlers before.

    Signals that this process was started to ignore stay ignored, as SIGHUP is under ``nohup``; outside the main thread,
    where Python sets no handlers, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [signal.Signals[name] for name in names if hasattr(signal, name)]
    # None: a handler of another language, which Python could not give back.
    mine = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in mine}


def give_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set the handlers that :func:`take_over` returned."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def end_at_once(number: int) -> None:
    """Let a signal do what it does to a process that has no handler."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def tell(text: str) -> None:
    """Write a line to the standard error from a handler, where Python's own streams may be in the middle of another."""
    os.write(2, f"\n{text}\n".encode())
