"""The table of faults: one row a fault, printed at the end of the tests and kept in a file."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ROWS", "Row", "add", "text"]


@dataclass
class Row:
    """Fault, tries, survived, and the most work that one of them cost."""

    fault: str
    tries: int = 0
    survived: int = 0
    lost: str = "nothing"


ROWS: dict[str, Row] = {}


def add(rows: Iterable[tuple[str, int, int, str]]) -> None:
    """Take in the rows of another process that ran some of the tests."""
    for fault, tries, survived, lost in rows:
        row = ROWS.setdefault(fault, Row(fault))
        row.tries, row.survived = row.tries + tries, row.survived + survived
        if lost != "nothing":
            row.lost = lost


def text() -> str:
    """Markdown."""
    lines = ["| fault | tries | survived | lost work, at most |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.fault} | {row.tries} | {row.survived} | {row.lost} |" for row in ROWS.values()]
    tries, survived = sum(row.tries for row in ROWS.values()), sum(row.survived for row in ROWS.values())
    return "\n".join([*lines, f"| **all** | {tries} | {survived} | |", ""])
