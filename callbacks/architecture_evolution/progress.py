"""The bar of an architecture search."""

import math
import sys
from typing import Any

from tqdm import tqdm

from lightning_gvae.evolution.architecture.search import Progress

__all__ = ["SearchBar"]


class SearchBar:
    """Shows phase, generation, candidates, best loss, hypervolume and the time that is left.

    Args:
        total: Candidates of the search.
        generations: Generations of the search.
        enabled: Whether anything is shown (rank 0, which while a generation is under way counts its own share only).
    """

    def __init__(self, total: int, generations: int, enabled: bool = True) -> None:
        self.total, self.generations, self.enabled = total, generations, enabled
        self._bar: Any = None
        self._phase = ""

    def __call__(self, progress: Progress) -> None:
        """Move on."""
        if not self.enabled:
            return
        if progress.phase != self._phase:
            self.close()
            self._phase = progress.phase
            total = self.total if progress.phase == "search" else None
            interval = 0.2 if sys.stderr.isatty() else 10.0
            self._bar = tqdm(desc=progress.phase, total=total, unit="net", dynamic_ncols=True, mininterval=interval)
        if progress.phase == "search":
            best = "none" if math.isnan(progress.best) else f"{progress.best:.4f}"
            shown = f"generation {min(progress.generation + 1, self.generations)}/{self.generations}"
            self._bar.set_postfix_str(f"{shown}, best {best}, hypervolume {progress.hypervolume:.4f}", refresh=False)
        self._bar.update(max(0, progress.evaluated - self._bar.n))

    def close(self) -> None:
        """Leave the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
