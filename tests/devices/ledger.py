"""Account of what a program asks of the pretend device: copies from the host, and times the host has to wait."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Kind", "Ledger", "Tally", "place"]

ROOT = Path(__file__).resolve().parents[2]
HARNESS = str(Path(__file__).parent)

Kind = Literal["copy", "wait"]


@dataclass
class Tally:
    """Copies from the host to the device, and waits of the host for the device, each with its cause and place."""

    copies: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, cause: str) -> None:
        (self.copies if kind == "copy" else self.waits)[f"{cause} at {place()}"] += 1

    def merge(self, other: "Tally") -> None:
        self.copies.update(other.copies)
        self.waits.update(other.waits)


class Ledger:
    """One tally a stage of a run; whoever knows the stage calls :meth:`turn_to`."""

    def __init__(self) -> None:
        self.now = Tally()

    def note(self, kind: Kind, cause: str) -> None:
        self.now.add(kind, cause)

    def turn_to(self, tally: Tally) -> Tally:
        """Write into ``tally`` from now on; returns the one that was written into."""
        before, self.now = self.now, tally
        return before


def place() -> str:
    """File, line and function of the innermost caller in this repository, or else in Lightning; ``?`` if neither."""
    frame, outside = sys._getframe(1), "?"
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(str(ROOT)) and "site-packages" not in path and not _of_harness(path):
            return f"{Path(path).relative_to(ROOT)}:{frame.f_lineno} ({frame.f_code.co_name})"
        if outside == "?" and ("/site-packages/lightning/" in path or "/site-packages/torchmetrics/" in path):
            outside = f"{path.partition('site-packages/')[2]}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back  # type: ignore[assignment]
    return outside


def _of_harness(path: str) -> bool:
    return path.startswith(HARNESS) and not Path(path).name.startswith(("test_", "planted"))
