"""SOLVE, the full figure: errors of search spaces learnt from valid points, beside the plain genetic algorithm.

Every piece (a problem of a size) is computed for several seeds, each with points, networks and searches of its own, and
compared with what the published raw results say. The plain genetic algorithm runs with the published fitness and with
Deb's rules, because most of the published gap on C1 comes from the former.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.criteria import CRITERIA
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.executors import Executor, ProcessExecutor
from lightning_gvae.studies.solve.cells import Piece, SolveSettings, cell_file, run_piece
from lightning_gvae.studies.solve.report import write_solve_report

__all__ = ["PIECES", "SolveStudy"]

PIECES = {
    "c1": [Piece("c1", dims) for dims in range(1, 11)],
    "c2": [Piece("c2", dims) for dims in range(2, 11)],
    "c3": [Piece("c3", dims) for dims in range(2, 11)],
    "c4": [Piece("c4", 4, order) for order in ((1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 4), (1, 2, 4, 3))],
    "c5": [Piece("c5", 2)],
}


class SolveStudy:
    """Runs every piece with every seed and writes tables, figures and rows.

    Args:
        problems: Of ``"c1"`` ... ``"c5"``.
        seeds: Seeds; each has points, networks and searches of its own.
        scale: ``name`` and arguments of :class:`~lightning_gvae.studies.solve.cells.SolveSettings`.
        paper: As published, mistakes included.
        dims: Sizes of C1 to C3 to compute; None is all.
        name: Name of the study.

    Raises:
        ConfigError: An unknown problem, no seed, a size that no problem has, or a setting out of range.
    """

    def __init__(
        self,
        problems: Sequence[str],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        paper: bool = False,
        dims: Sequence[int] | None = None,
        name: str = "solve",
    ) -> None:
        problems = [problems] if isinstance(problems, str) else list(problems)
        unknown = [problem for problem in problems if problem not in CRITERIA]
        if unknown or not problems:
            raise ConfigError(
                f"`problems` must be among {', '.join(CRITERIA)}, got {', '.join(map(str, unknown)) or '[]'}"
            )
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(f"`seeds` must be at least one, all different, got {list(seeds)}")
        self.seeds, self.name, self.scale = list(seeds), name, dict(scale)
        self.scale_name = str(self.scale.pop("name", "custom"))
        self.settings = SolveSettings(**self.scale, paper=paper)
        self.pieces = [
            piece
            for problem in dict.fromkeys(problems)
            for piece in PIECES[problem]
            if dims is None or problem in ("c4", "c5") or piece.dims in dims
        ]
        if not self.pieces:
            raise ConfigError(f"`dims` must be sizes that the problems have (1 to 10), got {dims}")

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Compute what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and figures to ``folder``.

        A cell, a piece and a seed, is kept in a file of its own as soon as it is finished.

        Returns:
            Path of the report.

        Raises:
            ConfigError: ``workers`` is below 1.
            CellError: A piece failed; the others are finished first, and a later call computes only what is missing.
        """
        executor = executor or ProcessExecutor(workers)
        missing = {
            piece: [seed for seed in self.seeds if not cell_file(folder, piece, seed, self.settings).is_file()]
            for piece in self.pieces
        }
        # The largest first: at the end no process waits for another one's last long piece.
        work = sorted(((piece, seeds) for piece, seeds in missing.items() if seeds), key=lambda item: -_cost(item[0]))
        self._compute(work, folder, executor)
        files = [cell_file(folder, piece, seed, self.settings) for piece in self.pieces for seed in self.seeds]
        return self.report([json.loads(file.read_text(encoding="utf-8")) for file in files], folder)

    def _compute(self, work: Sequence[tuple[Piece, list[int]]], folder: Path, executor: Executor) -> None:
        total, left = len(self.pieces) * len(self.seeds), sum(len(seeds) for _, seeds in work)
        failures: list[str] = []
        bar = tqdm(
            total=total, initial=total - left, desc="study", unit="cell", mininterval=0 if sys.stderr.isatty() else 10
        )
        with bar:
            for outcome in executor.run(partial(_run, settings=self.settings, folder=folder), work):
                piece, seeds = work[outcome.number]
                bar.update(len(seeds))
                if outcome.problem:
                    failures.append(f"{piece.name}: {outcome.problem}")
        if failures:
            raise CellError(f"{len(failures)} of {len(work)} pieces failed; the first: {failures[0]}")

    def report(self, cells: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write rows, tables, figures and report of finished cells."""
        facts = {
            "scale": f"{self.scale_name}: {self.settings.n:,} points, best of {self.settings.candidates} networks, "
            f"{self.settings.epochs} epochs, {self.settings.runs} runs",
            "seeds": self.seeds,
            "as_published": "yes, mistakes included" if self.settings.paper else "no, repaired",
            "compute_seconds": sum(sum(cell["seconds"].values()) for cell in cells),
        }
        report = write_solve_report(cells, folder, facts)
        made = [{**cell.get("circumstances", {}), "wall_seconds": sum(cell["seconds"].values())} for cell in cells]
        scale = {"name": self.scale_name, "about": facts["scale"]}
        write_provenance(folder, self.name, scale, self.seeds, made, list(cells))
        return report


def _cost(piece: Piece) -> float:
    return {"c1": 1, "c2": 0.8, "c3": 30, "c4": 10, "c5": 3}[piece.problem] * piece.dims


def _run(item: tuple[Piece, list[int]], settings: SolveSettings, folder: Path) -> None:
    run_piece(*item, settings, folder)
