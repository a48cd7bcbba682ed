"""``train.py model=gan`` and its relatives: what a run leaves, resume, figures, scores."""

import csv
import json

import pytest
import torch

from lightning_gvae import cli
from tests.cli.test_train import config, run_train, same

RUN = ["trainer.max_steps=20", "test=true"]


@pytest.mark.parametrize("model", ["gan", "vae_gan", pytest.param("vae_gan_paper", marks=pytest.mark.slow)])
def test_a_run_leaves_its_figures_and_no_best_checkpoint(model, tmp_path):
    metrics = run_train(tmp_path, f"model={model}", *RUN)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt"}
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"samples.png", "game.png"} <= figures
    assert ("reconstructions.png" in figures) == (model != "gan")
    facts = json.loads((tmp_path / "run.json").read_text())
    assert (facts["status"], facts["optimizer_steps"]) == ("finished", 20)
    assert {"train/d_real", "train/d_prior", "val/d_real", "test/d_real"} <= set(metrics)
    assert ("test/active_units" in metrics) == (model != "gan")
    with (tmp_path / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/d_real"]]
    assert steps == [4, 9, 14, 19]
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == len(
        [name for name in figures if name.endswith(".png")]
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gan", "vae_gan"])
def test_resume_is_bit_exact_with_all_callbacks(model, tmp_path):
    run_train(tmp_path / "whole", f"model={model}", *RUN)
    run_train(tmp_path / "half", f"model={model}", "trainer.max_steps=13", "test=false")
    run_train(tmp_path / "rest", f"model={model}", *RUN, f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt")
    read = lambda name: torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)
    straight, rest = read("whole"), read("rest")
    for part in ("state_dict", "optimizer_states", "loops", "gvae_scalars", "gvae_random"):
        same(straight[part], rest[part], part)
    for key in straight["callbacks"]:
        if "Checkpoint" not in key:  # those hold the paths of their own folders
            same(straight["callbacks"][key], rest["callbacks"][key], key)


@pytest.mark.slow
def test_evolution_can_be_added_to_a_vae_gan_and_it_is_evaluated_from_its_checkpoint(tmp_path):
    evolve = [
        "+callbacks/beta_evolution=evae",
        "callbacks.beta_evolution.interval=10",
        "callbacks.beta_evolution.warmup=10",
        "callbacks.beta_evolution.lookahead_steps=1",
        "callbacks.beta_evolution.probe_size=32",
    ]
    metrics = run_train(tmp_path / "run", "model=vae_gan", "trainer.max_steps=25", *evolve)
    assert metrics["evolution/beta"] != 1
    checkpoint = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    again = cli.evaluate(config(tmp_path / "eval", checkpoint, "trainer=cpu", name="eval"))
    assert again["test/elbo"] == metrics["test/elbo"]


def test_a_gan_is_evaluated_from_its_checkpoint(tmp_path):
    run_train(tmp_path / "run", "model=gan", "trainer.max_steps=12", "test=false")
    arguments = [f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt", "trainer=cpu", "metrics=[precision_recall]"]
    settings = ["evaluation.samples=100", f"paths.cache_dir={tmp_path}/cache"]
    found = cli.evaluate(config(tmp_path / "eval", *arguments, *settings, name="eval"))
    assert {"test/d_real", "score/precision/domain/prior"} <= set(found)


def test_callbacks_can_be_left_out(tmp_path):
    arguments = ["data=digits", "trainer=cpu", "model=gan", "callbacks=none", "trainer.max_steps=5", "test=false"]
    cli.train(config(tmp_path, *arguments))
    assert not (tmp_path / "figures").exists()
