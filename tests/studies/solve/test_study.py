"""The SOLVE study: what it computes, keeps and writes."""

import csv
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_gvae.cli.build import build
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import GASettings, search
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.report.provenance import changed_files
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.solve import cells
from lightning_gvae.studies.solve import study as solve
from lightning_gvae.studies.solve.cells import Piece, SolveSettings, cell_file, run_piece
from lightning_gvae.studies.solve.published import PUBLISHED, archived
from lightning_gvae.studies.solve.study import PIECES, SolveStudy
from tests.cli.test_train import config

ROOT = Path(__file__).resolve().parents[3]
TOY = {"name": "toy", "runs": 6, "n": 60, "candidates": 2, "epochs": 2, "batch_size": 20, "kl_scale": 0.05}


def study(problems=("c1", "c2"), seeds=(0, 1), **kwargs):
    return SolveStudy(problems, seeds, TOY, **{"dims": [2]} | kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    report = study().run(folder)
    return folder, report


def test_every_run_of_every_method_is_a_row(finished):
    folder, _ = finished
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 4 * 6
    assert {"run", "vae_seed", "D", "method", "f", "violation", "valid", "paper_error_pct", "true_gap_pct"} <= set(
        rows[0]
    )
    for row in rows:
        optimum = {"c1": 4050.0, "c2": 32.0}[row["problem"]]
        assert float(row["paper_error_pct"]) == pytest.approx(100 * abs(float(row["f"]) - optimum) / optimum)
        assert (row["valid"] == "True") == (float(row["violation"]) == 0)


def test_the_report_sets_measured_beside_published(finished):
    folder, report = finished
    page, tables = report.read_text(), (folder / "tables.md").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "(9/8)^2 - 1 = 26.56 %" in page and "writingpeter/SOLVE, revision a3d39c9" in page
    (ours,) = re.findall(r"^\| 2 SOLVE \| ([^|]*) \|[^|]*\| 0.456 ± 0.034 \|", tables, re.MULTILINE)
    cells = [json.loads(path.read_text()) for path in sorted((folder / "cells").glob("c1-2-*.json"))]
    means = [np.mean(cell["methods"]["solve"]["paper_error_pct"]) for cell in cells]
    assert len(cells) == 2
    assert float(ours.split(" ± ")[0]) == pytest.approx(np.mean(means), rel=1e-3)
    assert float(ours.split(" ± ")[1]) == pytest.approx(np.std(means, ddof=1) / np.sqrt(2), rel=0.1)


def test_the_plain_algorithm_is_run_with_both_rules(finished):
    folder, _ = finished
    for path in (folder / "cells").glob("*.json"):
        assert set(json.loads(path.read_text())["methods"]) == {"solve", "solve_deb", "ga", "ga_deb"}


def test_both_rules_search_without_an_elite_and_differ_in_nothing_but_the_fitness(monkeypatch):
    asked, found = [], search(lambda z: z, make_criterion("c1", 1), -torch.ones(1), torch.ones(1), 2, None, 0)

    def seen(decode, problem, low, high, runs, settings, seed):
        asked.append(settings)
        return found

    monkeypatch.setattr(cells, "search", seen)
    cells._search_both("ga", make_criterion("c1", 1), None, None, None, 0, SolveSettings())
    assert asked == [GASettings.paper(), replace(GASettings.paper(), fitness="deb")]
    assert {settings.elitism for settings in asked} == {0}


def test_every_search_space_is_a_row_of_means(finished):
    folder, _ = finished
    with (folder / "seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 4 and {row["runs"] for row in rows} == {"6"}
    cell = json.loads(next((folder / "cells").glob("c1-2-seed0-*.json")).read_text())
    (row,) = (r for r in rows if (r["problem"], r["vae_seed"], r["method"]) == ("c1", "0", "ga"))
    assert float(row["violation"]) == pytest.approx(np.mean(cell["methods"]["ga"]["violation"]))
    assert cell["circumstances"]["processor"] and changed_files(folder) == []


def test_finished_cells_are_kept_and_only_what_is_missing_is_computed(finished, monkeypatch, tmp_path):
    folder, _ = finished
    calls = []
    monkeypatch.setattr(solve, "run_piece", lambda piece, seeds, *rest: calls.append((piece.name, seeds)))
    study().run(folder)
    assert calls == []
    monkeypatch.setattr(SolveStudy, "report", lambda self, cells, place: len(cells))
    with pytest.raises(FileNotFoundError):
        study(seeds=(0, 1, 2)).run(folder)
    assert sorted(calls) == [("c1-2", [2]), ("c2-2", [2])]


def test_a_cell_does_not_depend_on_what_is_computed_with_it(finished, tmp_path):
    folder, _ = finished
    settings, piece = study().settings, Piece("c2", 2)
    run_piece(piece, [1], settings, tmp_path)
    alone, together = (json.loads(cell_file(place, piece, 1, settings).read_text()) for place in (tmp_path, folder))
    assert alone["facts"]["points"] == together["facts"]["points"]
    np.testing.assert_allclose(alone["facts"]["errors"], together["facts"]["errors"], atol=1e-5)
    assert alone["methods"]["ga"] == together["methods"]["ga"]
    assert not (tmp_path / "points").exists() or not list((tmp_path / "points").iterdir())


def test_other_settings_are_other_cells(tmp_path):
    piece = Piece("c1", 2)
    files = {cell_file(tmp_path, piece, 0, SolveSettings(**kwargs)) for kwargs in ({}, {"runs": 7}, {"paper": True})}
    assert len(files) == 3


def test_a_failed_piece_is_told_and_the_others_are_finished(tmp_path, monkeypatch):
    real = solve.run_piece

    def failing(piece, *rest):
        if piece.problem == "c1":
            raise ConfigError("made up")
        real(piece, *rest)

    monkeypatch.setattr(solve, "run_piece", failing)
    with pytest.raises(CellError, match="1 of 2 pieces failed; the first: c1-2: ConfigError: made up"):
        study(seeds=(0,)).run(tmp_path)
    assert [path.name.split("-seed")[0] for path in (tmp_path / "cells").iterdir()] == ["c2-2"]


def test_the_whole_figure_has_all_pieces():
    whole = SolveStudy(["c1", "c2", "c3", "c4", "c5"], [0], TOY)
    assert len(whole.pieces) == 10 + 9 + 9 + 5 + 1
    for problem, pieces in PIECES.items():
        for piece in pieces:
            assert archived(problem, piece.case, "solve") is not None, piece
            assert archived(problem, piece.case, "ga") is not None, piece
    assert len(PUBLISHED) == 2 * (10 + 9 + 9 + 5 + 1) + 5 + 1


def test_layers_and_a_collapse_are_noted(tmp_path):
    """Far too few points and epochs: the layers collapse, the study says so and goes on."""
    quick = TOY | {"n": 40, "layer_points": 40}
    paper = SolveStudy(["c4"], [0], quick)
    paper.pieces = [Piece("c4", 4, (1, 2))]
    report = paper.run(tmp_path)
    cell = json.loads(next((tmp_path / "cells").glob("c4-12-*.json")).read_text())
    assert ("layered" in cell["methods"]) != ("collapsed" in cell["facts"]["layered"])
    assert "C4: orders of criteria" in report.read_text()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"problems": ["c1", "c9"]}, "`problems` must be among c1, c2, c3, c4, c5, got c9"),
        ({"problems": []}, r"got \[\]"),
        ({"seeds": []}, r"`seeds` must be at least one, all different, got \[\]"),
        ({"seeds": [1, 1]}, r"got \[1, 1\]"),
        ({"dims": [77]}, r"`dims` must be sizes that the problems have \(1 to 10\), got \[77\]"),
        ({"scale": TOY | {"runs": 0}}, "`runs` must be an integer of at least 1, got 0"),
    ],
)
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        SolveStudy(**{"problems": ["c1"], "seeds": [0], "scale": TOY} | kwargs)
    with pytest.raises(ConfigError, match="`workers` must be at least 1, got 0"):
        study().run("x", workers=0)


@pytest.mark.parametrize("scale", ["solve_full", "solve_quick"])
def test_the_configuration_makes_the_study(scale):
    cfg = config("out", "study=solve", f"study/scale={scale}", "study.problems=[c2,c5]", "study.dims=[4]", name="study")
    built = build(cfg.study)
    assert [piece.name for piece in built.pieces] == ["c2-4", "c5-2"]
    assert built.seeds == [0, 1, 2] and not built.settings.paper
    assert built.settings.kl_scale == 1 / built.settings.batch_size
    assert built.settings.runs == 100
    if scale == "solve_full":
        assert built.settings == SolveSettings()


OVERRIDES = [
    "study=solve",
    "study.problems=[c2]",
    "study.dims=[2,3]",
    "study.seeds=[0,1]",
    *(f"study.scale.{name}={value}" for name, value in TOY.items() if name not in ("name", "epochs")),
    "study.scale.epochs=150",
]


def start(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(ROOT / "study.py"), f"paths.log_dir={folder}", *OVERRIDES, *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)


def numbers(folder: Path) -> dict:
    """Everything that a finished study knows and that is no time."""
    files = sorted(folder.glob("study/solve-full/cells/*.json"))
    return {path.name: json.loads(path.read_text()) | {"seconds": None} for path in files}


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(tmp_path):
    """On one process, and on two."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    assert start(straight, "workers=2").wait(timeout=600) == 0
    first = start(killed)
    deadline = time.monotonic() + 600
    while not list(killed.glob("study/solve-full/cells/*.json")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert 0 < len(numbers(killed)) < 4
    assert start(killed).wait(timeout=600) == 0
    assert len(numbers(killed)) == 4
    assert (killed / "study/solve-full/report.html").is_file()
    for name, cell in numbers(straight).items():
        other = numbers(killed)[name]
        assert other["methods"]["ga"] == cell["methods"]["ga"]
        np.testing.assert_allclose(other["facts"]["errors"], cell["facts"]["errors"], atol=1e-4)
