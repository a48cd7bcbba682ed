"""Results of an evaluation: scores with what each rests on, and those left out with the reason."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from lightning_gvae.errors import ConfigError, DataError, NonFiniteError, ScoreUnavailable

__all__ = ["PREFIX", "Fact", "Measured", "Piece", "ScoreSheet", "unavailable_reason"]

PREFIX = "score/"
Fact = str | int | float | None

# What says that this score cannot be had here. Everything else is a mistake in the code and must not be hidden.
DECLARED = (ScoreUnavailable, ConfigError, DataError, NonFiniteError)


@dataclass(frozen=True)
class Measured:
    """A score and what must be said with it.

    Args:
        name: Without ``score/``.
        value: The number.
        facts: What it rests on: how many images of which part, number of draws, seed, feature space.
    """

    name: str
    value: float
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """The smallest part of an evaluation that can be done, or left out, by itself.

    Args:
        name: What it is called if it is left out, such as ``"fid/domain/gmm"``.
        compute: Its scores.
    """

    name: str
    compute: Callable[[], Iterable[Measured]]


class ScoreSheet(Mapping[str, float]):
    """Scores by name, each with the prefix ``score/``, in the order in which they were finished.

    Attributes:
        facts: What each score rests on, by the same name.
        left_out: Reason by the name (without prefix) of what could not be computed.
        pending: Names of the pieces that are still to be computed.
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self.facts: dict[str, dict[str, Fact]] = {}
        self.left_out: dict[str, str] = {}
        self.pending: list[str] = []

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, found: Measured) -> None:
        """Take a score down; one that is not finite is left out."""
        if not math.isfinite(found.value):
            self.left_out[found.name] = f"its value is {found.value:g}, which is no score"
            return
        self._values[PREFIX + found.name] = float(found.value)
        if found.facts:
            self.facts[PREFIX + found.name] = dict(found.facts)

    def reasons(self) -> dict[str, list[str]]:
        """Names of what was left out by the reason, which many scores share."""
        grouped: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            grouped.setdefault(reason, []).append(name)
        return grouped

    def require_one(self, names: Sequence[str] | str) -> None:
        """Refuse an evaluation that was asked for certain scores and has computed none.

        Args:
            names: What was asked for; ``"all"`` asks for nothing in particular.

        Raises:
            ConfigError: There is no score, with the reasons.
        """
        if names == "all" or list(names) in ([], ["all"]) or self._values:
            return
        reasons = "; ".join(f"{', '.join(left)}: {reason}" for reason, left in self.reasons().items())
        raise ConfigError(f"none of the scores that `metrics` names can be computed: {reasons}")


def unavailable_reason(error: Exception) -> str | None:
    """Reason why a score cannot be computed here, on one line; None if ``error`` is a mistake in the code."""
    if isinstance(error, DECLARED):
        return " ".join(str(error).split())
    # Torch has an exception of its own for a GPU and none for the processor.
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)
    if on_cpu or isinstance(error, MemoryError | torch.OutOfMemoryError):
        said = (str(error).splitlines() or [""])[0]
        return f"out of memory ({said or type(error).__name__}); take fewer images, or a machine with more memory"
    return None
