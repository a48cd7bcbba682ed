import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.callbacks.beta_evolution.plan import EvolutionPlan
from lightning_gvae.errors import ConfigError
from lightning_gvae.studies.betas import BetasStudy, collect
from lightning_gvae.studies.learning_curves import latent_curve_figures, read_curves

ROOT = Path(__file__).resolve().parents[2]
SCALE = {"name": "toy", "about": "made up", "target_kl": 10.0, "budget": 100, "overrides": ["data=digits"]}
ARMS = {"vae": ["model=vae"], "control_vae": ["model=control_vae"], "evae": ["model=evae"]}


def study(**changes) -> BetasStudy:
    settings = {
        "arms": ARMS,
        "holding": ["control_vae", "evae"],
        "questions": [["evae", "control_vae"]],
        "seeds": [0, 1, 2],
        "scale": SCALE,
    }
    return BetasStudy(**settings | changes)


def result(arm: str, seed: int, kl: float, recon: float, beta: float) -> dict:
    curve = {"steps": [9, 19, 29], "values": [1.0, 2.0, 3.0 + seed]}
    return {
        "arm": arm,
        "seed": seed,
        "command": f"python train.py {arm} {seed}",
        "metrics": {
            "test/kl": kl,
            "test/recon": recon,
            "test/elbo": -kl - recon,
            "beta": beta,
            "steps": 100,
            "extra": 0.0,
        },
        "curves": dict.fromkeys(("train/kl", "train/elbo", "train/recon", "train/beta"), curve),
        "kl_dims": [kl],
        "wall_seconds": 60.0,
        "git_revision": "abc",
    }


def test_all_arms_get_the_same_budget_data_and_seeds():
    cells = study().cells()
    assert [(cell.arm, cell.seed) for cell in cells] == [(arm, seed) for seed in (0, 1, 2) for arm in ARMS]
    shared = {cell.overrides[:-1] for cell in cells}
    assert len(shared) == 1
    assert {"data=digits", "target_kl=10.0", "trainer.max_steps=100", "+callbacks.compute_budget.steps=100"} <= set(
        *shared
    )


@pytest.mark.parametrize("name", ["betas", "rate_distortion"])
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_run_of_the_shipped_studies_is_a_configuration(name, scale, tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        settings = compose("study", [f"study={name}", f"study/scale={scale}", f"paths.output_dir={tmp_path}"]).study
        cells = instantiate(settings, _convert_="all").cells()
        runs = {cell.arm: compose("train", list(cell.overrides)) for cell in cells if cell.seed == 0}
    assert runs.keys() == settings.arms.keys() and len(cells) == len(runs) * len(settings.seeds)
    assert all(run.trainer.max_steps == settings.scale.budget for run in runs.values())


@pytest.mark.parametrize(("scale", "budget"), [("small", None), ("paper", None), ("small", 3000), ("small", 600)])
def test_the_last_stair_ends_within_the_budget_whatever_evolution_spends(scale, budget, tmp_path):
    given = [] if budget is None else [f"study.scale.budget={budget}"]
    overrides = ["study=rate_distortion", f"study/scale={scale}", f"paths.output_dir={tmp_path}", *given]
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        settings = compose("study", overrides).study
        cells = instantiate(settings, _convert_="all").cells()
        run = compose("train", list(next(cell for cell in cells if cell.arm == "evae_ramp").overrides))
    evolution = run.callbacks.beta_evolution
    names = ("interval", "warmup", "evaluator", "lookahead_steps", "probe_size", "kl_source")
    plan = EvolutionPlan(**{name: evolution[name] for name in names})
    candidates = evolution.search.variation.survivors + evolution.search.variation.children
    extra = plan.extra_compute(candidates, run.data.batch_size, 1)  # if the search never slept
    target, stairs = evolution.search.target, settings.stairs
    assert target.start + (stairs - 1) * target.increment == target.maximum
    assert stairs * target.period * (1 + extra) <= settings.scale.budget < 1.6 * stairs * target.period
    assert run.trainer.val_check_interval == target.period


def test_too_few_steps_for_the_stairs_are_refused():
    with pytest.raises(ConfigError, match="`scale.budget` must be at least 8 optimiser steps for 6 stairs, got 7"):
        study(scale=SCALE | {"budget": 7}, stairs=6)


def test_arms_have_settings_of_their_own_at_a_scale_which_come_last():
    arms = {"evae": ["model.beta=0.5"], "of_another_study": ["model.beta=9"]}
    cells = {cell.arm: cell for cell in study(scale=SCALE | {"arms": arms}).cells()}
    assert cells["evae"].overrides[-2:] == ("model=evae", "model.beta=0.5")
    assert cells["vae"].overrides[-1] == "model=vae"


def traced(validated: list[int]) -> list[dict]:
    """Runs of a climbing target that were validated so many times, one a seed."""
    runs = []
    for seed, count in enumerate(validated):
        run = result("evae", seed, 9.0, 30.0, 1.0)
        for name in ("val/kl", "val/recon"):
            run["curves"] = {**run["curves"], name: {"steps": list(range(count)), "values": [1.0 + seed] * count}}
        runs.append(run)
    return runs


def test_a_run_that_ended_before_its_last_stair_is_named_and_the_others_are_drawn(tmp_path):
    asked = study(arms={"evae": []}, holding=[], questions=[], traced=["evae"], stairs=3, seeds=[0, 1])
    page = asked.report(traced([3, 2]), tmp_path).read_text()
    assert "evae, seed 1, ended on stair 2 of 3: its curve is cut short." in page and "seed 0, ended" not in page
    assert (tmp_path / "figures/information_plane.png").is_file()


def test_curves_of_latents_are_kept_with_the_factors_that_they_know(tmp_path):
    steps = torch.arange(500)
    rows = {f"kl/{latent}": {"steps": steps, "values": steps * (latent + 1.0)} for latent in range(11)}
    (tmp_path / "checkpoints").mkdir()
    state = {"state_dict": {}, "callbacks": {"History": {"rows": rows}}}
    torch.save(state, tmp_path / "checkpoints/last.ckpt")
    facts = {"score/mig": {"images": 9, "latent_of_position_x": 10, "latent_of_scale": 2, "latent_of_shape": 2}}
    (tmp_path / "scores.json").write_text(json.dumps({"facts": facts}))
    kept = read_curves(tmp_path)
    assert kept["factors"] == {"position_x": 10, "scale": 2, "shape": 2}
    assert [curve["values"][-1] for curve in kept["kl_curves"]] == [499.0 * (latent + 1) for latent in range(11)]
    assert kept["kl_curves"][0]["steps"][0] == 0 and len(kept["kl_curves"][0]["steps"]) == 100
    ((name, _, _, figure),) = latent_curve_figures({"vae": [kept]})
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert name == "kl_latents" and {"position x", "scale, shape", "no factor"} == set(labels)


def test_runs_shorter_than_the_interval_of_the_loggers_are_collected_and_reported(tmp_path):
    checkpoint = {
        "state_dict": {"beta": torch.tensor(0.7, dtype=torch.float64)},
        "callbacks": {"History": {"rows": {}}},
    }
    for seed in (0, 1):
        run = tmp_path / f"run{seed}"
        (run / "checkpoints").mkdir(parents=True)
        torch.save(checkpoint, run / "checkpoints/last.ckpt")
        facts = {"status": "finished", "optimizer_steps": 5, "evolution_extra_compute": None, "wall_seconds": 1.0}
        metrics = {"test/kl": 9.0 + seed, "test/recon": 30.0, "test/elbo": -39.0}
        (run / "run.json").write_text(json.dumps({**facts, "metrics": metrics, "git_revision": "abc"}))
    results = [{"arm": "vae", "seed": seed, "command": "c", **collect(tmp_path / f"run{seed}")} for seed in (0, 1)]
    assert [run["metrics"]["beta"] for run in results] == [0.7, 0.7] and results[0]["curves"] == {}
    asked = study(arms={"vae": []}, holding=[], questions=[], seeds=[0, 1])
    page = asked.report(results, tmp_path / "report").read_text()
    assert page.count("data:image/png;base64,") == 1  # rate and distortion at the end


def report(tmp_path: Path, gap: list[float]) -> tuple[str, str]:
    """Report and tables of a study in which evae's distortion at the target is by ``gap`` above control_vae's."""
    results = []
    for seed in range(3):
        results += [
            result("vae", seed, 12.0, 25.0 + seed, 1.0),
            # Both miss the target, each by its slope: 28 + seed and 28 + seed + gap at 10 nats.
            result("control_vae", seed, 10.5, 27.0 + seed, 2.0),
            result("evae", seed, 9.5, 30.0 + seed + gap[seed], 4.0),
        ]
    study().report(results, tmp_path)
    return (tmp_path / "report.html").read_text(), (tmp_path / "tables.md").read_text()


@pytest.mark.parametrize(
    ("gap", "answer", "row"),
    [
        (
            [-1.0, -1.1, -0.9],
            "evae is better than control_vae at equal KL and equal compute, by 1 nats of distortion",
            "| evae - control_vae | −1 | −1.248 to −0.7516 | first |",
        ),
        (
            [1.0, 1.1, 0.9],
            "evae is worse than control_vae at equal KL and equal compute, by 1 nats of distortion",
            "| evae - control_vae | 1 | 0.7516 to 1.248 | second |",
        ),
        (
            [1.0, -1.0, 0.0],
            "No difference between evae and control_vae at equal KL and equal compute can be told",
            "| cannot be told |",
        ),
    ],
)
def test_the_answer_follows_from_the_paired_distortion_at_the_target(tmp_path, gap, answer, row):
    page, tables = report(tmp_path, gap)
    assert answer in page and "3 seeds" in page
    assert row in tables
    with (tmp_path / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "evae"]
    at_target = [float(row["at_target"]) for row in rows]
    assert at_target == pytest.approx([28 + seed + gap[seed] for seed in range(3)])
    assert page.count("data:image/png;base64,") == 5
    assert "python train.py evae 2" in page


def test_arms_that_do_not_hold_the_kl_are_not_compared_at_the_target(tmp_path):
    _, tables = report(tmp_path, [0.0, 0.0, 0.0])
    (row,) = (line for line in tables.splitlines() if line.startswith("| vae |"))
    assert "| 12 | 26 ± 2.5 |" in row and row.endswith("|  |  |")


def test_constant_weights_are_compared_by_their_curve_at_the_target(tmp_path):
    arms = {"vae": [], "beta_vae": [], "evae": []}
    results = []
    for seed in range(3):
        results += [
            # The parabola D = 24 + seed - 2 (R - 10) + (R - 10)^2 / 4, whose slopes are the weights.
            result("vae", seed, 12.0, 21.0 + seed, 1.0),
            result("beta_vae", seed, 8.0, 29.0 + seed, 3.0),
            result("evae", seed, 10.0, 23.0 + seed + 0.1 * seed, 2.0),
        ]
    asked = study(arms=arms, holding=["evae"], questions=[["evae", "fixed"]], sweep=["vae", "beta_vae"])
    asked.report(results, tmp_path)
    assert "evae is better than fixed" in (tmp_path / "report.html").read_text()
    tables = (tmp_path / "tables.md").read_text()
    assert "| evae - fixed | \u22120.9 |" in tables
    (row,) = (line for line in tables.splitlines() if line.startswith("| fixed |"))
    assert "| 25 \u00b1 2.5 |" in row


def test_a_target_outside_the_curve_has_no_answer(tmp_path):
    results = [result(arm, seed, kl, 20.0, 1.0) for seed in range(2) for arm, kl in (("vae", 8.0), ("evae", 9.0))]
    asked = study(arms={"vae": [], "evae": []}, holding=["evae"], questions=[["evae", "fixed"]], sweep=["vae"])
    asked.report(results, tmp_path)
    assert "the target of 10 nats lies outside the curve of fixed" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "at least one arm and one seed, got 3 and 0"),
        (
            {"questions": [["evae", "gan"]]},
            "`questions`, `holding`, `sweep` and `traced` may name vae, control_vae, evae, got gan",
        ),
        ({"holding": ["vea"]}, "got evae|got control_vae|got vea"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        study(**changes)


SETTINGS = ("data=digits", "trainer=cpu", "trainer.val_check_interval=20", "trainer.log_every_n_steps=5")
SAVING = ("callbacks.last_checkpoint.every_n_train_steps=10", "callbacks.figures=null")
EVOLVE = {"interval": 10, "warmup": 10, "lookahead_steps": 2, "probe_size": 64}


def quoted(values) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"


TOY = [
    *("study.scale.budget=60", "study.scale.target_kl=6", "study.seeds=[0]", "study.questions=[[evae,control_vae]]"),
    *(
        f"~study.arms.{arm}"
        for arm in ("beta_vae", "beta_vae_2", "cyclical_vae", "dynamic_vae", "evae_fo", "evae_random", "vae")
    ),
    f"study.scale.overrides={quoted([*SETTINGS, *SAVING])}",
    f"study.arms.evae={quoted(['model=evae', *(f'callbacks.beta_evolution.{k}={v}' for k, v in EVOLVE.items())])}",
    "study.holding=[control_vae,evae]",
    "study.sweep=[]",
]


def start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        str(ROOT / "study.py"),
        "study=betas",
        "study/scale=small",
        f"paths.log_dir={folder}",
        *TOY,
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=os.environ)


def numbers(folder: Path) -> dict:
    """Everything that a finished study knows and that is no time."""
    cells = sorted(folder.glob("study/betas-small/cells/*/cell.json"))
    assert len(cells) == 2
    return {cell.parent.name: json.loads(cell.read_text()) | {"wall_seconds": None} for cell in cells}


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    assert start(straight).wait(timeout=900) == 0
    first = start(killed)
    deadline = time.monotonic() + 600
    # In the middle of the second run: the first is finished, this one has a checkpoint and no result.
    while not list(killed.glob("study/betas-small/cells/evae-*/attempt-0/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert len(list(killed.glob("study/betas-small/cells/*/cell.json"))) == 1
    assert start(killed).wait(timeout=900) == 0
    assert numbers(killed) == numbers(straight)
    evae = next(value for name, value in numbers(killed).items() if name.startswith("evae"))
    metrics = evae["metrics"]
    # The budget of 60 steps is spent, evolution's share included, to within one step.
    assert 60 <= metrics["steps"] * (1 + metrics["extra"] / 100) < 61 * (1 + metrics["extra"] / 100)
    assert metrics["steps"] < 60
    assert np.isfinite(evae["curves"]["train/kl"]["values"]).all()
    assert (killed / "study/betas-small/report.html").is_file()
