"""The study of the vanishing KL: its cells are configurations, and its report follows from the runs."""

import csv
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.studies.kl_vanishing import KLVanishingStudy

SCALE = {"name": "toy", "about": "made up", "target_kl": 3.0, "budget": 100, "overrides": ["data=ptb"]}
ARMS = {"vae": ["model=text_vae"], "control_vae": ["model=text_control_vae"], "evae": ["model=text_evae"]}


def study() -> KLVanishingStudy:
    return KLVanishingStudy(ARMS, ["control_vae", "evae"], [["evae", "control_vae"]], [0, 1, 2], SCALE, title="Toy")


def result(arm: str, seed: int, kl: float, recon: float, beta: float) -> dict:
    curve = {"steps": [9, 19, 29], "values": [1.0, 2.0, 3.0 + seed]}
    metrics = {
        "test/kl": kl,
        "test/recon": recon,
        "test/elbo": -kl - recon,
        "beta": beta,
        "steps": 100,
        "extra": 0.0,
        "test/perplexity": 120.0 + seed,
        "score/perplexity_elbo": 119.0 + seed,
        "score/perplexity_iw": 118.0 + seed,
        "score/distinct_1": 0.25,
    }
    return {
        "arm": arm,
        "seed": seed,
        "command": f"python train.py {arm} {seed}",
        "metrics": metrics,
        "curves": dict.fromkeys(("train/kl", "train/elbo", "train/recon", "train/beta"), curve),
        "kl_dims": [kl, 0.0],
        "wall_seconds": 60.0,
        "git_revision": "abc",
    }


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_run_is_a_configuration_with_the_remedy_of_its_arm(scale: str, tmp_path: Path) -> None:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        overrides = ["study=kl_vanishing", f"study/scale=kl_vanishing_{scale}", f"paths.output_dir={tmp_path}"]
        settings = compose("study", overrides).study
        cells = instantiate(settings, _convert_="all").cells()
        runs = {cell.arm: compose("train", list(cell.overrides)) for cell in cells if cell.seed == 0}
    assert len(cells) == 6 * 3
    assert {run.trainer.max_steps for run in runs.values()} == {settings.scale.budget}
    assert runs["vae"].model.beta == 1 and "schedule" not in runs["vae"].model
    assert runs["annealed_vae"].model.schedule.steps == settings.scale.annealing_steps < settings.scale.budget
    cyclical = runs["cyclical_vae"].model.schedule
    # Without a number of steps the cycles fill the run.
    assert (cyclical.steps, cyclical.cycles, cyclical.ratio) == (None, 4, 0.5)
    assert runs["free_bits_vae"].model.free_bits * runs["free_bits_vae"].model.latent_dim == pytest.approx(3)
    control = runs["control_vae"].model
    assert (control.target_kl, control.kp, control.ki) == (3, 0.01, settings.scale.ki)
    assert (control.beta_min, control.beta_max) == (0, 1)
    evolution = runs["evae"].callbacks.beta_evolution
    assert evolution.search.target == 3 and evolution.interval == settings.scale.interval
    assert all(run.callbacks.compute_budget.steps == settings.scale.budget for run in runs.values())


def test_the_report_says_what_vanished_what_is_held_and_the_difference(tmp_path: Path) -> None:
    results = []
    for seed in range(3):
        results += [
            result("vae", seed, 0.02 + seed / 100, 100.0, 1.0),
            result("control_vae", seed, 3.1, 97.0 + seed, 0.5),
            result("evae", seed, (2.9, 2.71, 3.4)[seed], 98.0 + seed, 0.4),
        ]
    study().report(results, tmp_path)
    page, tables = (tmp_path / "report.html").read_text(), (tmp_path / "tables.md").read_text()
    assert "the KL of vae ends at 0.02 to 0.04 nats on the test set: it has vanished." in page
    assert (
        "the KL of control_vae ends at 3.1 nats on the test set: within 10 % of the target of 3 nats in 3 of 3" in page
    )
    assert (
        "the KL of evae ends at 2.71 to 3.4 nats on the test set: within 10 % of the target of 3 nats in 2 of 3" in page
    )
    assert "evae is worse than control_vae at equal KL and equal compute" in page
    assert "| arm | optimiser steps |" in tables and "| 121 ± 2.5 | 120 ± 2.5 | 119 ± 2.5 |" in tables
    assert "distinct-1" in tables and "| 0.25 |" in tables
    assert page.count("data:image/png;base64,") == 5
    with (tmp_path / "results.csv").open() as file:
        rows = {(row["arm"], row["seed"]): row for row in csv.DictReader(file)}
    assert float(rows["control_vae", "0"]["at_target"]) == pytest.approx(97 + 0.5 * 0.1)
