"""The table of faults: one row a fault, printed at the end of the tests and kept in a file."""

from dataclasses import dataclass

__all__ = ["ROWS", "Row", "text"]


@dataclass
class Row:
    """Fault, tries, survived, and the most work that one of them cost."""

    fault: str
    tries: int = 0
    survived: int = 0
    lost: str = "nothing"


ROWS: dict[str, Row] = {}


def text() -> str:
    """Markdown."""
    lines = ["| fault | tries | survived | lost work, at most |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.fault} | {row.tries} | {row.survived} | {row.lost} |" for row in ROWS.values()]
    tries, survived = sum(row.tries for row in ROWS.values()), sum(row.survived for row in ROWS.values())
    return "\n".join([*lines, f"| **all** | {tries} | {survived} | |", ""])
