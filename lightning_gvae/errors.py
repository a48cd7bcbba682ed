"""Errors whose message is meant for the person at the keyboard.

The command line prints them as one paragraph without a traceback; from Python they are ordinary exceptions.
Each message names the value, what was expected and what to do.
"""

import os
import sys
from collections.abc import Callable, Sequence

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DesyncError",
    "GvaeError",
    "NonFiniteError",
    "ScoreUnavailable",
    "StoppedError",
    "checked_choice",
    "checked_count",
    "checked_number",
    "printable",
    "say",
]


class GvaeError(Exception):
    """Base of all errors this package raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(GvaeError, ValueError):
    """A setting is missing, out of range or contradicts another one."""


class DataError(GvaeError, ValueError):
    """A data file is missing, truncated or not in the format it should have."""


class CheckpointError(GvaeError, ValueError):
    """A checkpoint cannot be read or belongs to another model or search."""


class NonFiniteError(GvaeError, ArithmeticError):
    """The loss became NaN or infinite."""


class ScoreUnavailable(GvaeError, ValueError):
    """A score cannot be computed for this model and these data; the others can."""


class DesyncError(GvaeError, RuntimeError):
    """The ranks of a process group no longer agree about the evolution."""


class StoppedError(GvaeError, RuntimeError):
    """The run was told to stop, and has saved what it takes to go on.

    Args:
        message: For the person at the keyboard.
        signal: Name of the signal that told it.
    """

    told = False  # whether the command line has said all of it already

    def __init__(self, message: str, signal: str = "SIGINT") -> None:
        super().__init__(message)
        self.name = signal


def checked_count(name: str, value: int, least: int = 1, unit: str = "") -> int:
    """``value`` if it is an integer of at least ``least``; the error names the argument ``name`` and the unit.

    Raises:
        ConfigError: It is another number, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"`{name}` must be an integer of at least {least}{unit and f' ({unit})'}, got {value!r}")
    return value


def checked_number(name: str, value: float, holds: Callable[[float], bool], rule: str) -> float:
    """``value`` if it is a number for which ``holds`` is true; the error names the argument ``name`` and the rule.

    Raises:
        ConfigError: It is another number, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
        raise ConfigError(f"`{name}` {rule}, got {value!r}")
    return value


def checked_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check that ``value`` is one of ``choices``; the error names the argument ``name`` and all of them.

    Raises:
        ConfigError: It is none of them.
    """
    if value not in choices:
        raise ConfigError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value!r}")


def printable(text: str) -> str:
    """Text that every terminal and every file takes.

    Names of files need not be UTF-8; Python holds the bytes that are not in characters of their own, which become
    replacement characters here.

    >>> printable("caf\\udce9.png")
    'caf\ufffd.png'
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def say(text: str) -> None:
    """Tell the person at the keyboard something on the way; of the processes of a machine the first one does."""
    if os.environ.get("LOCAL_RANK", "0") in ("", "0"):
        print(printable(text), file=sys.stderr)
