"""Scores of a user's own, by names of the user's choice."""

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Protocol

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.results import Measured, Piece
from lightning_gvae.evaluation.subject import Subject

__all__ = ["OwnScore", "own_pieces"]


class OwnScore(Protocol):
    """Anything that is called with model and data and returns a number, or several by name."""

    def __call__(self, subject: Subject, /) -> float | Mapping[str, float]:
        """The score.

        Args:
            subject: Gives ``model`` and ``data``; ``samples(count, "prior")`` and ``batches(part, positions)`` batch by
                batch; ``posteriors(part, count, tag)``; and ``seed``, of which all draws should come.

        Raises:
            ScoreUnavailable: It cannot be had for this model and these data; the other scores can.
        """


def own_pieces(name: str, score: OwnScore, subject: Subject) -> Iterator[Piece]:
    """The one piece of an own score: ``name``, or ``name/<key>`` for each number of several."""

    def compute() -> Iterator[Measured]:
        found = score(subject)
        for label, value in found.items() if isinstance(found, Mapping) else [("", found)]:
            if not isinstance(value, Real):
                raise ConfigError(
                    f"`evaluation.own.{name}` must return a number, or numbers by name, got {type(value).__name__}"
                )
            yield Measured(f"{name}/{label}" if label else name, float(value), {"seed": subject.seed})

    yield Piece(name, compute)
