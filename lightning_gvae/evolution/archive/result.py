"""Result of a quality-diversity search: the elites, how the archive filled, and what was turned away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError

__all__ = ["COUNTS", "HISTORY", "ArchiveResult", "Elites"]

Array = np.ndarray[Any, Any]

HISTORY = ("evaluations", "cells", "qd_score", "best", "cells_realistic", "qd_score_realistic")
COUNTS = ("evaluations", "nan", "unrealistic")


@dataclass(frozen=True)
class Elites:
    """The best candidate of every cell that has one, in the order of the cells.

    Args:
        cell: Numbers of the cells ``(M,)``, ascending; of a grid in row-major order.
        latents: ``(M, L)``, fp64.
        objective: ``(M,)``, fp64.
        descriptors: ``(M, K)``, fp64.
        realistic: ``(M,)`` bool; all true if the problem has no notion of it.
    """

    cell: Array
    latents: Array
    objective: Array
    descriptors: Array
    realistic: Array

    def __len__(self) -> int:
        return len(self.cell)


@dataclass(frozen=True)
class ArchiveResult:
    """Outcome of a quality-diversity search.

    Args:
        names: Of the K descriptors.
        ranges: Lowest and highest value of each, ``(K, 2)``.
        shape: Cells along each descriptor; empty for a tessellation.
        centroids: Of a tessellation, ``(cells, K)``; empty for a grid.
        floor: What the objective never falls below.
        raw: Elites of all candidates.
        realistic: Elites of the realistic candidates alone; equal to ``raw`` if the problem has no notion of it.
        judges_realism: Whether the problem has one.
        history: By name of :data:`HISTORY`, ``(T + 1,)``, after the initial candidates and after every generation.
        counts: By name of :data:`COUNTS`: candidates judged, those with a NaN, the unrealistic ones; and
            ``below/<name>`` and ``above/<name>``: those outside the range of a descriptor, which no cell took.
    """

    names: tuple[str, ...]
    ranges: Array
    shape: tuple[int, ...]
    centroids: Array
    floor: float
    raw: Elites
    realistic: Elites
    judges_realism: bool
    history: dict[str, Array]
    counts: dict[str, int]

    @property
    def capacity(self) -> int:
        """Number of cells."""
        return int(np.prod(self.shape)) if self.shape else len(self.centroids)

    def coverage(self, realistic: bool = False) -> float:
        """Share of the cells that have an elite, 0 to 1."""
        return len(self.realistic if realistic else self.raw) / self.capacity

    def qd_score(self, realistic: bool = False) -> float:
        """Sum over the elites of the objective above the floor; 0 or more."""
        return float((self.elites(realistic).objective - self.floor).sum())

    def elites(self, realistic: bool = True) -> Elites:
        """The elites of realistic candidates, or of all."""
        return self.realistic if realistic else self.raw

    @property
    def outside(self) -> int:
        """Candidates outside the range of a descriptor, counted once for each descriptor."""
        return sum(count for name, count in self.counts.items() if name.startswith(("below/", "above/")))

    def on_grid(self, values: Array, realistic: bool = True) -> Array:
        """Values ``(M, ...)`` of the elites in an array of the grid's shape; NaN where a cell has none.

        Raises:
            ConfigError: The archive is no grid.
        """
        if not self.shape:
            raise ConfigError("the archive is a tessellation and has no grid; draw its centroids instead")
        board = np.full((self.capacity, *values.shape[1:]), np.nan)
        board[self.elites(realistic).cell] = values
        return board.reshape(*self.shape, *values.shape[1:])

    def arrays(self) -> dict[str, Array]:
        """Plain arrays, for ``numpy.savez``."""
        stored: dict[str, Array] = {
            "names": np.array(self.names),
            "ranges": self.ranges,
            "shape": np.array(self.shape, dtype=np.int64),
            "centroids": self.centroids,
            "floor": np.array(self.floor),
            "judges_realism": np.array(self.judges_realism),
            "count_names": np.array(list(self.counts)),
            "counts": np.array(list(self.counts.values()), dtype=np.int64),
        }
        for which in ("raw", "realistic"):
            elites = getattr(self, which)
            stored |= {f"{which}/{name}": getattr(elites, name) for name in Elites.__dataclass_fields__}
        return stored | {f"history/{name}": values for name, values in self.history.items()}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Array]) -> "ArchiveResult":
        """Inverse of :meth:`arrays`."""
        elites = {
            which: Elites(**{name: stored[f"{which}/{name}"] for name in Elites.__dataclass_fields__})
            for which in ("raw", "realistic")
        }
        return cls(
            tuple(map(str, stored["names"])),
            stored["ranges"],
            tuple(map(int, stored["shape"])),
            stored["centroids"],
            float(stored["floor"]),
            elites["raw"],
            elites["realistic"],
            bool(stored["judges_realism"]),
            {name: stored[f"history/{name}"] for name in HISTORY},
            dict(zip(map(str, stored["count_names"]), map(int, stored["counts"]), strict=True)),
        )


def empty_counts(names: Sequence[str]) -> dict[str, int]:
    """Counters at zero, one below and one above for each descriptor."""
    sides = [f"{side}/{name}" for name in names for side in ("below", "above")]
    return dict.fromkeys([*COUNTS, *sides], 0)
