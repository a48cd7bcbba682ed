"""Problems over a box, and other views of them."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["BoxProblem", "ProblemView"]


class BoxProblem(Protocol):
    """A problem with criteria over a box, such as :class:`~lightning_gvae.problems.criteria.Criterion`."""

    @property
    def name(self) -> str:
        """Name, for messages."""

    @property
    def dims(self) -> int:
        """Variables D."""

    @property
    def low(self) -> float:
        """Lower bound of every variable."""

    @property
    def high(self) -> float:
        """Upper bound of every variable."""

    def objective(self, x: Tensor) -> Tensor:
        """``(N, D)`` to ``(N,)``."""

    def violations(self, x: Tensor) -> Tensor:
        """``(N, D)`` to ``(N, C)``, 0 where a criterion is met."""


@dataclass(frozen=True)
class ProblemView:
    """A problem seen in another way: the same box, other objectives or criteria.

    Args:
        whole: That problem.
    """

    whole: BoxProblem

    @property
    def dims(self) -> int:
        """Variables D."""
        return self.whole.dims

    @property
    def low(self) -> float:
        """Lower bound of every variable."""
        return self.whole.low

    @property
    def high(self) -> float:
        """Upper bound of every variable."""
        return self.whole.high
