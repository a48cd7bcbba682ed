"""Journal of a population: one row a member and generation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.population.search import Exchange, PopulationSearch
from lightning_gvae.io.files import write_csv
from lightning_gvae.io.journal import append_rows

__all__ = ["PopulationJournal", "journal_columns", "journal_rows", "needs_mig"]

Cell = int | float | str


class PopulationJournal:
    """Rows of all generations; the csv file is whole wherever the run goes on, since checkpoints carry the rows.

    Args:
        columns: Names of the columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns, self.rows = list(columns), list[list[Cell]]()
        self._path: Path | None = None

    def start(self, path: Path) -> None:
        """Write what there is so far."""
        write_csv(path, self.columns, self.rows)
        self._path = path

    def add(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Append a generation; on the disk when this returns, if the file was started."""
        self.rows += [list(row) for row in rows]
        if self._path is not None:
            append_rows(self._path, rows)


def journal_columns(search: PopulationSearch) -> list[str]:
    """Names of the columns."""
    scores = ["distortion", "rate", "nelbo", *(["mig"] if needs_mig(search) else [])]
    return ["generation", "step", "member", *search.names, *scores, "parent", "reason", "hypervolume"]


def journal_rows(
    search: PopulationSearch,
    generation: int,
    step: int,
    genes: Array,
    scores: Sequence[Mapping[str, float]],
    exchanges: Sequence[Exchange],
    volume: float,
) -> list[list[Cell]]:
    """Rows of a generation: genes and scores before the exchange, and whom a member takes over from, if anyone."""
    taken = {each.member: each for each in exchanges}
    rows: list[list[Cell]] = []
    for number, row in enumerate(scores):
        gone = taken.get(number)
        rows.append(
            [
                *(generation, step, number, *genes[number].tolist(), *row.values()),
                *(("", "") if gone is None else (gone.parent, gone.reason)),
                volume,
            ]
        )
    return rows


def needs_mig(search: PopulationSearch) -> bool:
    """Whether the mutual information gap is among the objectives."""
    return any(objective.name == "mig" for objective in search.objectives)
