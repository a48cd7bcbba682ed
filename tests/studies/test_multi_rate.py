"""The study of one network for every KL weight: its cells are configurations, its report follows from the runs."""

import csv

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.multi_rate import MultiRateStudy

SCALE = {"name": "toy", "about": "made up", "steps": 90, "overrides": ["data=digits"]}
BETAS = [2, 0.5, 1]


def study(**settings):
    return MultiRateStudy(
        **({"variants": {"one": [], "other": []}, "betas": BETAS, "seeds": [0, 1], "scale": SCALE} | settings)
    )


def result(arm, seed, factor, betas, steps=90):
    points = [[beta, 10.0 / beta, factor * (80.0 + seed) - 10.0] for beta in betas]  # D + beta R = factor * (80 + seed)
    return {
        "arm": arm,
        "seed": seed,
        "points": points,
        "steps": steps,
        "wall_seconds": 6.0,
        "git_revision": "abc",
        "command": "c",
    }


def results():
    found = []
    for seed in (0, 1):
        found += [result("one", seed, 1.02, sorted(BETAS)), result("other", seed, 1.05, sorted(BETAS))]
        found += [result(f"separate_beta_{beta:g}", seed, 1.0, [beta]) for beta in BETAS]
        found += [result(f"shared_beta_{beta:g}", seed, 1.2, [beta], 30) for beta in BETAS]
    return found


def test_cells_are_configurations_of_equal_steps(tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        settings = compose("study", ["study=multi_rate", f"paths.output_dir={tmp_path}"]).study
        cells = instantiate(settings, _convert_="all").cells()
        runs = {cell.arm: compose("train", list(cell.overrides)) for cell in cells if cell.seed == 0}
    assert len(cells) == 14 * 3
    assert runs["one_network"].callbacks.rate_curve.points == [0.25, 0.5, 1, 2, 4]
    assert runs["one_network"].trainer.max_steps == runs["separate_beta_4"].trainer.max_steps == 3000
    assert runs["shared_beta_4"].trainer.max_steps == 600
    assert runs["shared_beta_4"].model.beta == 4
    assert "beta_range" not in runs["separate_beta_4"].model
    assert runs["published_gate"].model.gate == "published"


def test_report_compares_losses_seed_by_seed(tmp_path):
    study().report(results(), tmp_path)
    points = study().points(results())
    assert points["one"].shape == points["separate"].shape == (2, 3, 2)
    assert np.all(np.diff(points["separate"][0, :, 0]) < 0)  # by rising weight
    gap = study().excess(points, "one", "separate")
    assert (gap.mean, gap.low, gap.high) == pytest.approx((2.0, 2.0, 2.0))
    assert study().excess(points, "other", "shared").mean == pytest.approx(100 * (1.05 / 1.2 - 1))
    with (tmp_path / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * (3 + 3 + 3 + 3)
    tables, page = (tmp_path / "tables.md").read_text(), (tmp_path / "report.html").read_text()
    assert "| one | +2.00 |" in tables
    assert "| a network each, equal steps in all | 3 | 90 |" in tables
    assert "2.0 % above that of 3 networks of as many steps each" in page
    assert "15.0 % below that of 3 networks of as many steps together" in page
    assert (tmp_path / "provenance.json").is_file()


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="needs a variant, a seed and a KL weight, got 0, 2 and 3"):
        study(variants={})
    with pytest.raises(ConfigError, match="`variants` must not be called shared"):
        study(variants={"shared": []})
