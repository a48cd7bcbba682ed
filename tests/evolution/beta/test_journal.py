"""The csv file of candidates."""

import csv

from lightning_gvae.evolution.beta.journal import BetaJournal

COLUMNS = ["generation", "step", "beta", "fitness"]


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_on_disk_at_once(tmp_path):
    journal = BetaJournal(tmp_path / "run" / "evolution.csv", COLUMNS)
    journal.add([[0, 250, 1.0, -0.5], [0, 250, 0.1 + 0.2, ""]])
    assert read(journal.path) == [COLUMNS, ["0", "250", "1.0", "-0.5"], ["0", "250", "0.30000000000000004", ""]]
    journal.add([[1, 500, 2.0, -0.25]])
    assert len(read(journal.path)) == 4
    assert journal.rows[2] == [1, 500, 2.0, -0.25]


def test_a_resumed_run_repeats_no_generation(tmp_path):
    path = tmp_path / "evolution.csv"
    BetaJournal(path, COLUMNS).add([[generation, 250 * generation, 1.0, 0.0] for generation in range(5)])
    resumed = BetaJournal(path, COLUMNS)
    resumed.add([[3, 750, 2.0, 0.0]])
    resumed.add([[4, 1000, 2.0, 0.0]])
    assert [(row[0], row[2]) for row in read(path)[1:]] == [
        ("0", "1.0"),
        ("1", "1.0"),
        ("2", "1.0"),
        ("3", "2.0"),
        ("4", "2.0"),
    ]


def test_a_new_run_in_the_same_folder_starts_anew(tmp_path):
    path = tmp_path / "evolution.csv"
    BetaJournal(path, ["generation", "other"]).add([[0, 1]])
    BetaJournal(path, COLUMNS).add([[1, 250, 1.0, 0.0]])  # other columns: nothing to go on from
    assert read(path) == [COLUMNS, ["1", "250", "1.0", "0.0"]]
    BetaJournal(path, COLUMNS).add([[0, 0, 3.0, 0.0]])
    assert read(path) == [COLUMNS, ["0", "0", "3.0", "0.0"]]
