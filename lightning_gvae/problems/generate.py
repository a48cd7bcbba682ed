"""Generates as many valid points as are wanted from a source; a killed generation goes on with the same points."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.errors import DataError, checked_count
from lightning_gvae.io.files import write_array
from lightning_gvae.problems.sources import Source

__all__ = ["InfeasibleError", "PartFiles", "generate"]

Progress = Callable[[int, int], None]


class InfeasibleError(DataError):
    """Too many tries in a row found no point; ``points`` holds what was found before, ``tries`` how many there were."""

    def __init__(self, message: str, points: Tensor, tries: int) -> None:
        super().__init__(message)
        self.points, self.tries = points, tries


class PartFiles:
    """Keeps finished chunks in a folder, one file each, written beside and renamed.

    Args:
        folder: Where; made when the first chunk is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, chunk: int) -> Tensor | None:
        """Points ``(F, D)`` of a chunk, or None if it was not finished."""
        path = self._path(chunk)
        return torch.from_numpy(np.load(path, allow_pickle=False)) if path.is_file() else None

    def save(self, chunk: int, points: Tensor) -> None:
        """Keep a chunk."""
        write_array(self._path(chunk), points.numpy())

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.npy"


def generate(
    source: Source, n: int, seed: int, progress: Progress | None = None, parts: PartFiles | None = None
) -> Tensor:
    """The first ``n`` points of a source; the same seed gives the same points.

    Args:
        source: Where they come from.
        n: Points, at least 1.
        seed: Of all draws.
        progress: Called after every chunk with the number of points found and of tries so far.
        parts: Where finished chunks are kept and taken from; None keeps nothing.

    Returns:
        ``(n, D)``, problem units, fp32.

    Raises:
        InfeasibleError: ``source.patience`` tries in a row found nothing.
    """
    checked_count("n", n)
    kept, found, chunk, barren = [torch.empty(0, source.dims)], 0, 0, 0
    while found < n:
        points = None if parts is None else parts.load(chunk)
        if points is None:
            points = source.draw(seed, chunk)
            if parts is not None:
                parts.save(chunk, points)
        kept.append(points)
        found, chunk = found + len(points), chunk + 1
        barren = 0 if len(points) else barren + source.tries
        if progress is not None:
            progress(min(found, n), chunk * source.tries)
        if barren >= source.patience and found < n:
            raise InfeasibleError(
                f"no point that meets {source.problem} was found by {source.name} in the last {barren:,} of "
                f"{chunk * source.tries:,} {source.unit}; {found} of {n} were found before"
                f"{f', they are kept in {parts.folder}' if parts is not None and found else ''}. The criteria may "
                "contradict each other within the box; take another method, or fewer criteria",
                torch.cat(kept),
                chunk * source.tries,
            )
    return torch.cat(kept)[:n]
