"""Every study's tables say which code, packages, processor, seeds and command they come from."""

import json
import platform
import sys

import pytest

from lightning_gvae.errors import DataError
from lightning_gvae.report import provenance
from lightning_gvae.report.circumstances import circumstances, package_versions, processor
from lightning_gvae.report.provenance import changed_files, of_record, read_provenance, write_provenance
from tests.studies import test_betas, test_kl_vanishing, test_moncae


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["/somewhere/study.py", "study=betas", "paths.log_dir=/there", "study.seeds=[0, 1]"]
    )
    (tmp_path / "results.csv").write_text("arm,seed\nvae,0\n")
    (tmp_path / "tables.md").write_text("| vae |\n")
    return tmp_path


def test_it_holds_what_differs_between_the_runs_and_what_earlier_runs_did_not_record(folder):
    now = circumstances() | {"wall_seconds": 1800.0, "device": "cpu, 1 threads"}
    runs = [now, now, now | {"git_revision": "another"}, {"wall_seconds": 1800.0, "git_revision": "old"}]
    write_provenance(folder, "betas", {"name": "small", "about": "toy", "budget": 3}, range(2), runs)
    facts = read_provenance(folder)
    assert facts["command"] == "python study.py study=betas 'study.seeds=[0, 1]'"
    assert facts["scale"] == {"name": "small", "about": "toy"} and facts["seeds"] == [0, 1]
    assert facts["runs"] == 4 and facts["hours"] == 2.0
    assert facts["git_revision"] == [now["git_revision"], "another", "old"]
    assert facts["versions"] == [package_versions(), "not recorded"]
    assert facts["processor"] == [processor(), "not recorded"] and platform.machine() in facts["processor"][0]


def test_a_table_that_was_changed_by_hand_is_found(folder):
    write_provenance(folder, "betas", "small", [0], [])
    assert changed_files(folder) == []
    (folder / "tables.md").write_text("| vae | better |\n")
    (folder / "results.csv").unlink()
    assert changed_files(folder) == ["results.csv", "tables.md"]
    (folder / provenance.PROVENANCE).write_text("{")
    with pytest.raises(DataError, match="provenance"):
        changed_files(folder)


def test_of_a_run_its_circumstances_are_kept():
    record = circumstances() | {"wall_seconds": 3.0, "device": "cpu", "metrics": {}, "seed": 0}
    assert of_record(record) == {name: record[name] for name in of_record(record)}
    assert set(record) - set(of_record(record)) == {"metrics", "seed"}


def test_studies_write_it_beside_their_tables(tmp_path):
    made = {
        "betas": test_betas.study(arms={"vae": []}, holding=[], questions=[]).report(
            [test_betas.result("vae", seed, 9.0, 30.0, 1.0) for seed in range(3)], tmp_path / "betas"
        ),
        "kl_vanishing": test_kl_vanishing.study().report(
            [
                test_kl_vanishing.result(arm, seed, 3.0, 100.0, 1.0)
                for arm in test_kl_vanishing.ARMS
                for seed in range(3)
            ],
            tmp_path / "kl_vanishing",
        ),
        "moncae": test_moncae.study().report(test_moncae.results(0.05), tmp_path / "moncae"),
    }
    for report in made.values():
        facts = json.loads((report.parent / "provenance.json").read_text())
        assert facts["study"] and {"results.csv", "tables.md"} <= set(facts["files"])
        assert facts["git_revision"] == ["abc"] and changed_files(report.parent) == []
