"""Every candidate of every generation, as a csv file."""

from collections.abc import Sequence
from pathlib import Path

from lightning_gvae.io.files import write_csv
from lightning_gvae.io.journal import append_rows, read_rows

__all__ = ["BetaJournal"]

Cell = int | float | str


class BetaJournal:
    """Appends rows to a csv file, one candidate a row.

    A run that goes on in the folder of an earlier one keeps that one's rows, apart from those of generations that it
    is about to repeat (the earlier run went on past the checkpoint).

    Args:
        path: The csv file; its folder is made if it does not exist.
        columns: Names of the columns; the first must be ``generation``.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
        self.rows: list[list[Cell]] = []

    def add(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Append the rows of one generation; on disk when this returns."""
        if not self.rows and rows:
            self._begin(int(rows[0][0]))
        self.rows += [list(row) for row in rows]
        append_rows(self.path, rows)

    def stored(self) -> list[list[str]]:
        """Rows on disk as texts, those of earlier runs in this folder too."""
        return self._read()

    def _begin(self, generation: int) -> None:
        earlier = [row for row in self._read() if int(row[0]) < generation]
        write_csv(self.path, self.columns, earlier)

    def _read(self) -> list[list[str]]:
        rows = read_rows(self.path)
        if not rows or rows[0] != self.columns:
            return []
        return [row for row in rows[1:] if len(row) == len(self.columns) and row[0].isdecimal()]
