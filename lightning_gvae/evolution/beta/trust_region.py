"""Trust region: the distance from the incumbent that a candidate may have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene, steps
from lightning_gvae.evolution.operators import Array

__all__ = ["TrustRegion"]

_NARROWEST = 0.1


class TrustRegion:
    """A box around the incumbent, ``delta`` natural units to every side, narrower for a gene that swings.

    A look-ahead that is short of the full response of the KL overshoots the target, then overshoots it coming back.
    So the reach of a gene is halved when the gene turns back and doubled, up to ``delta``, when it goes on in the same
    direction; it never falls below a tenth of ``delta``.

    Args:
        genes: The genes.
        delta: Widest reach, positive, in natural units (a factor of e for a log gene); ``None`` for no limit at all.

    Raises:
        ConfigError: ``delta`` is not positive.
    """

    def __init__(self, genes: Sequence[Gene], delta: float | None) -> None:
        if delta is not None and not delta > 0:
            raise ConfigError(f"`delta` must be positive or null, got {delta!r}")
        self.delta = delta
        self._steps = steps(genes)
        self.reset()

    def reset(self) -> None:
        """Widest reach, no heading."""
        self.width = np.ones(len(self._steps))
        self.heading = np.zeros(len(self._steps))

    def box(self, centre: Array) -> tuple[Array, Array]:
        """Lower and upper corner ``(d,)`` around the position ``centre``, within [0, 1]."""
        if self.delta is None:
            return np.zeros_like(centre), np.ones_like(centre)
        reach = self.delta * self.width * self._steps
        return np.maximum(centre - reach, 0.0), np.minimum(centre + reach, 1.0)

    def moved(self, move: Array) -> None:
        """Take note of the move ``(d,)`` that the incumbent made; 0 leaves a gene's reach as it is."""
        course = np.sign(move) * self.heading
        self.width = np.clip(self.width * np.select([course < 0, course > 0], [0.5, 2.0], 1.0), _NARROWEST, 1.0)
        self.heading = np.where(move == 0, self.heading, np.sign(move))

    def state_dict(self) -> dict[str, list[float]]:
        """Reach relative to delta and last heading of every gene."""
        return {"width": self.width.tolist(), "heading": self.heading.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.width, self.heading = (np.array(state[key], dtype=np.float64) for key in ("width", "heading"))
