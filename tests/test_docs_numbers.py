"""What the documentation quotes stands in a results file; tables there are those that were written."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from lightning_gvae.cli.reproduce import stored_studies
from lightning_gvae.report.provenance import changed_files, read_provenance
from tests.docs_numbers import NUMBER, blocks, missing, plain, quoted

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
INDEX = DOCS / "results/index.md"
# Its figures are those of `make bench`, which writes them to benchmarks/results.
BENCHMARKS = {"performance.md"}
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name not in BENCHMARKS)


@pytest.mark.parametrize("page", PAGES)
def test_every_quoted_number_stands_in_its_results_file(page):
    for block in blocks(DOCS / page):
        where = f"{page}, line {block.line}"
        if block.mark is None:
            assert not block.needs_mark, f"{where}: say where the numbers come from, <!-- numbers: results/... -->"
            continue
        for file in block.files:
            assert file.is_file(), f"{where}: {file} does not exist"
        assert not missing(block), f"{where}: not found in {block.mark}: {missing(block)}"


@pytest.mark.parametrize("folder", [path.name for path in stored_studies(DOCS / "results")])
def test_stored_tables_are_those_that_the_study_wrote_and_say_where_they_come_from(folder):
    facts = read_provenance(DOCS / "results" / folder)
    assert changed_files(DOCS / "results" / folder) == [], "made by hand? run the study and publish it"
    assert {"study", "scale", "command", "seeds", "git_revision", "versions", "processor", "files"} <= set(facts)
    assert facts["command"].startswith("python ")
    assert "tables.md" in facts["files"]


def test_every_folder_of_results_has_a_provenance():
    folders = {path.name for path in (DOCS / "results").iterdir() if path.is_dir()}
    assert folders == {path.name for path in stored_studies(DOCS / "results")}


def index_rows() -> list[list[str]]:
    """Cells of the rows of figures and claims."""
    lines = [line for line in INDEX.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if len(row) == 6 and row[0] not in ("figure or claim", "---")]


def test_the_index_has_a_verdict_with_its_evidence_for_every_row():
    studies = {path.stem for path in (ROOT / "conf/study").glob("*.yaml")}
    assert len(index_rows()) > 30
    for claim, verdict, evidence, command, _, hours in index_rows():
        links = [INDEX.parent / link for link in re.findall(r"\]\(([^)]+)\)", evidence)]
        assert all(link.is_file() for link in links), f"{claim}: {evidence}"
        assert not (verdict.startswith("not run") and links), f"{claim}: was it run or not?"
        assert verdict.startswith("not run") or links or "not stored" in verdict, f"{claim}: no evidence"
        assert set(re.findall(r"study=(\w+)", command)) <= studies, f"{claim}: {command}"
        assert hours == "" or float(hours) > 0, f"{claim}: {hours}"
        # What a verdict quotes stands in what it links.
        whole = [Decimal(n) for link in links for n in NUMBER.findall(plain(link.read_text(encoding="utf-8")))]
        for number in NUMBER.findall(plain(verdict)) if links else ():
            assert "." not in number or quoted(number, whole), f"{claim}: {number} stands in none of {evidence}"


def test_the_index_names_every_stored_result():
    text = INDEX.read_text(encoding="utf-8")
    assert [path.name for path in stored_studies(DOCS / "results") if f"]({path.name}/tables.md)" not in text] == []


@pytest.mark.parametrize(
    ("number", "source", "found"),
    [
        ("13.4", ["13.44"], True),
        ("13.5", ["13.44"], False),
        ("6.3", ["0.0627"], True),  # a percentage
        ("0.08", ["0.077"], True),
        ("-0.5", ["0.5"], True),
        ("17", ["16.97", "3"], True),
        ("1200", ["1249"], False),
    ],
)
def test_a_quotation_is_a_rounded_number(number, source, found):
    assert quoted(number, list(map(Decimal, source))) == found


def test_rows_of_a_quoted_table_must_be_rows_of_the_file(tmp_path):
    (tmp_path / "tables.md").write_text("| a | 1.23 | 5 |\n| b | 4.56 | 7 |\n")
    (tmp_path / "page.md").write_text(
        "Text without a number.\n\n<!-- numbers: tables.md -->\n| | x | y |\n| --- | --- | --- |\n"
        "| a 9 | 1.2 | 5 |\n| b | 1.2 | 7 |\n\n<!-- numbers anywhere: tables.md -->\n| | x |\n| --- | --- |\n"
        "| c | 1.2, 7 |\n\n<!-- numbers: none, settings -->\n| | x |\n| --- | --- |\n| c | 0.5 |\n\n"
        "<!-- numbers: tables.md -->\nIt is 1.23 and 4.6 in 3 runs, not 9.9.\n\nIt is 3 \u00b1 1.\n"
    )
    found = [
        (block.line, block.needs_mark, missing(block) if block.files else None)
        for block in blocks(tmp_path / "page.md")
    ]
    assert found == [
        (1, False, None),
        (4, True, ["1.2, 7"]),
        (10, True, []),
        (15, True, None),
        (20, False, ["9.9"]),
        (22, True, None),
    ]
