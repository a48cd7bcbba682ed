"""Stored studies are made again from what they keep: the same tables, or the difference is said."""

import shutil
from pathlib import Path

import pytest

from lightning_gvae.cli.reproduce import main, publish, rebuild, scratch_commands, stored_studies
from lightning_gvae.errors import DataError
from lightning_gvae.report.provenance import RUNS, changed_files, read_provenance

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def stored(tmp_path) -> Path:
    folder = tmp_path / "results/diversity-weights-small"
    shutil.copytree(RESULTS / folder.name, folder)
    return folder


def test_tables_and_figures_are_made_again_from_the_stored_runs(stored, tmp_path, capsys):
    assert main([str(stored.parent), "--to", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "diversity-weights-small: as stored\n"
    made = tmp_path / "out/diversity-weights-small"
    assert (made / "tables.md").read_text() == (stored / "tables.md").read_text()
    assert (made / "figures/tradeoff.png").is_file() and (made / "report.html").is_file()
    assert (made / RUNS).read_bytes() == (stored / RUNS).read_bytes()


def test_a_table_that_does_not_follow_from_the_runs_is_named(stored, capsys):
    text = (stored / "tables.md").read_text()
    (stored / "tables.md").write_text(text.replace("0.3863", "0.9863"))
    assert text != (stored / "tables.md").read_text()
    assert main([str(stored)]) == 1
    assert "differs in tables.md" in capsys.readouterr().out


def test_what_cannot_be_made_again_is_said(stored, capsys):
    (stored / RUNS).unlink()
    assert main([str(stored)]) == 0
    assert "what its report is made of was not kept" in capsys.readouterr().out
    (stored / "provenance.json").unlink()
    assert main([str(stored)]) == 2
    assert "holds no stored study" in capsys.readouterr().err


def test_the_commands_that_compute_everything_are_listed_with_their_hours(capsys):
    assert main([str(RESULTS), "--scratch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == scratch_commands(RESULTS) and len(lines) == len(stored_studies(RESULTS))
    (line,) = (line for line in lines if "betas-small" in line)
    assert line.startswith("python study.py study=betas study/scale=small workers=2    # betas-small: 45 runs, ")


def test_a_study_is_published_with_its_provenance_if_its_tables_are_its_own(stored, tmp_path):
    publish(stored, tmp_path / "docs/new")
    assert changed_files(tmp_path / "docs/new") == []
    assert read_provenance(tmp_path / "docs/new") == read_provenance(stored)
    (stored / "results.csv").write_text("arm,seed\n")
    with pytest.raises(DataError, match=r"results\.csv changed since the provenance was written"):
        publish(stored, tmp_path / "docs/other")


@pytest.mark.slow
@pytest.mark.parametrize("folder", [path.name for path in stored_studies(RESULTS) if (path / RUNS).is_file()])
def test_every_stored_study_is_as_its_runs_say(folder, tmp_path):
    rebuild(RESULTS / folder, tmp_path / folder)
    assert main([str(RESULTS / folder)]) == 0
