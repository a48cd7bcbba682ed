"""The table has the rows of all processes that ran tests."""

from tests.faults import table


def test_rows_of_other_processes_are_added(monkeypatch):
    monkeypatch.setattr(table, "ROWS", {"a": table.Row("a", 2, 2, "3 steps")})
    table.add([("a", 3, 2, "nothing"), ("b", 1, 1, "1 cell")])
    assert table.text().splitlines()[2:] == [
        "| a | 5 | 4 | 3 steps |",
        "| b | 1 | 1 | 1 cell |",
        "| **all** | 6 | 5 | |",
    ]
