"""The study of fronts: its cells are configurations, and its answers follow from the points of the runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.studies.fronts import ARMS, FrontsStudy, collect

SCALE = {
    "name": "toy",
    "about": "made up",
    "members": 3,
    "steps": 100,
    "interval": 10,
    "warmup": 10,
    "probe_size": 64,
    "overrides": ["model.network=mlp"],
}
DATA = {"digits": {"overrides": ["data=digits"], "reference": [10, 10], "stairs": [2, 2, 6]}}


def study(**settings) -> FrontsStudy:
    return FrontsStudy(**({"arms": ARMS, "data": DATA, "seeds": [0, 1, 2], "scale": SCALE} | settings))


def result(arm: str, seed: int, better: float) -> dict:
    points = [[[5.0 - better, 4.0], [4.0 - better, 5.0]], [[3.0 - better, 6.0], [9.0, 9.0 + seed]]]
    return {
        "arm": f"digits-{arm}",
        "seed": seed,
        "command": f"python train.py {arm} {seed}",
        "points": points,
        "compute": [150.0, 300.0],
        "metrics": {"steps": 100, "extra": 200.0},
        "wall_seconds": 60.0,
        "git_revision": "abc",
    }


def test_every_run_is_a_configuration_with_the_same_budget(tmp_path: Path) -> None:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        settings = compose("study", ["study=fronts", f"paths.output_dir={tmp_path}"]).study
        protocol = instantiate(settings, _convert_="all")
        cells = protocol.cells()
        runs = {cell.arm: compose("train", list(cell.overrides)) for cell in cells if cell.seed == 0}
    assert len(cells) == 5 * 2 * len(settings.arms)
    alone = {arm for arm in runs if arm.endswith("one_run")}
    assert {runs[arm].callbacks.compute_budget.steps for arm in alone} == {settings.scale.steps}
    assert {runs[arm].callbacks.compute_budget.steps for arm in runs.keys() - alone} == {protocol.budget} == {24_000}
    for data in settings.data:
        methods = {arm: runs[f"{data}-{arm}"].callbacks.get("population_evolution") for arm in settings.arms}
        assert [methods[arm].search.method for arm in ("grid", "population", "random_genes")] == [
            "none",
            "evolve",
            "random",
        ]
        assert methods["stairs"] is None
        assert runs[f"{data}-multi_rate"].callbacks.rate_curve.points == settings.scale.members
        assert methods["multi_rate"] is None
        ramp = runs[f"{data}-stairs"].callbacks.beta_evolution.search.target
        stairs = (ramp.maximum - ramp.start) / ramp.increment + 1
        assert stairs == settings.scale.members  # as many points
        assert ramp.period * stairs * 1.19 <= protocol.budget
        assert runs[f"{data}-stairs"].trainer.val_check_interval == ramp.period


def test_answers_and_tables_follow_from_the_points(tmp_path: Path) -> None:
    results = [result(arm, seed, {"population": 1.0}.get(arm, 0.0)) for arm in ARMS for seed in range(3)]
    report = study().report(results, tmp_path)
    text = report.read_text()
    assert "digits: the hypervolume of population is larger than that of grid" in text
    assert "digits: no difference between random_genes and grid can be told" in text
    grid = next(run for run in results if run["arm"] == "digits-grid")
    points = [[5, 4], [4, 5], [3, 6]]
    assert grid["volumes"] == pytest.approx([hypervolume(points[:2], (10, 10)), hypervolume(points, (10, 10))])
    assert np.array(grid["fronts"][-1]).tolist() == points
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(ARMS)
    assert {row["hypervolume"] for row in rows if row["arm"] == "digits-grid"} == {str(grid["volumes"][-1])}
    assert (tmp_path / "figures" / "digits_hypervolume.png").is_file()
    assert "## Fronts of digits" in (tmp_path / "tables.md").read_text()


def test_fronts_keep_no_more_points_than_a_grid_has_runs() -> None:
    run = result("grid", 0, 0.0)
    run["points"] = [[[float(9 - k), float(k)] for k in range(8)]]
    study()._measure(run, (10, 10))
    assert len(run["fronts"][-1]) == SCALE["members"]


def test_points_of_a_population_come_from_its_journal(tmp_path: Path) -> None:
    record = {"evolution_extra_compute": 2.5, "optimizer_steps": 20, "wall_seconds": 3.0, "git_revision": "abc"}
    (tmp_path / "run.json").write_text(json.dumps(record | {"metrics": {}}))
    lines = ["generation,step,member,distortion,rate", "0,10,0,5,1", "0,10,1,nan,2", "1,20,0,4,2", "1,20,1,3,3"]
    (tmp_path / "population.csv").write_text("\n".join(lines) + "\n")
    found = collect(tmp_path)
    assert found["compute"] == [35.0, 70.0]
    assert found["points"] == [[[5.0, 1.0]], [[4.0, 2.0], [3.0, 3.0]]]
    (tmp_path / "population.csv").write_text(lines[0] + "\n")
    with pytest.raises(DataError, match="neither a population"):
        collect(tmp_path)
    (tmp_path / "population.csv").unlink()
    (tmp_path / "rate_curve.csv").write_text("beta,kl,recon,nelbo,loss\n0.1,9,4,13,4.9\n1,5,6,11,11\n")
    assert collect(tmp_path)["points"] == [[[4.0, 9.0], [6.0, 5.0]]]


def test_studies_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="the study needs arms"):
        study(arms=["evolution"])
    with pytest.raises(ConfigError, match="the study needs arms"):
        study(seeds=[])
