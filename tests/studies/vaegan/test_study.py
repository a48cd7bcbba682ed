"""The study of VAE, GAN and VAE-GAN: its runs, its tables from made-up results, and once for real on small digits."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.network_choice import plain_choice
from lightning_gvae.plots.images import grid
from lightning_gvae.plots.style import save
from lightning_gvae.studies.collapse.slopes import write_rows
from lightning_gvae.studies.vaegan.study import VaeganStudy

ROOT = Path(__file__).resolve().parents[3]
SCALE = {
    "name": "toy",
    "about": "made up",
    "overrides": ["trainer=cpu"],
    "models": {"vae": ["model.network=auto_norm"], "gan": [], "vae_gan": ["model.beta=0.5"]},
}
# FID and IS of three seeds: VAE worst, GAN best, VAE-GAN between, in both.
FID = {"vae": 30.0, "gan": 10.0, "vae_gan": 20.0, "untrained": 290.0}
IS = {"vae": 4.0, "gan": 7.0, "vae_gan": 6.0, "untrained": 1.5}


def study(**changes) -> VaeganStudy:
    settings: dict[str, Any] = {"data": ["mnist"], "seeds": [0, 1, 2], "scale": SCALE}
    return VaeganStudy(**settings | changes)


@pytest.mark.parametrize("scale", ["vaegan_small", "vaegan_paper"])
def test_every_run_of_the_shipped_study_is_a_configuration(scale, tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        chosen = ["study=vaegan", f"study/scale={scale}", f"paths.output_dir={tmp_path}", "paths.log_dir=logs"]
        made = instantiate(compose("study", chosen).study, _convert_="all")
        cells = made.cells()
        runs = {
            cell.arm: compose("train", [*cell.overrides, "paths.output_dir=run"]) for cell in cells if cell.seed == 0
        }
    assert len(cells) == 3 * 2 * 4 and made.collapse == Path("logs/study")
    assert set(runs) == {f"{d}-{m}" for d in ("mnist", "fashion_mnist") for m in ("vae", "gan", "vae_gan", "untrained")}
    trained = {name: run for name, run in runs.items() if not name.endswith("untrained")}
    # The same steps, images and networks for all, so that they differ by what they are trained for.
    assert len({(r.trainer.max_steps, r.data.batch_size, r.model.latent_dim) for r in trained.values()}) == 1
    assert {plain_choice(r.model.network) for r in trained.values()} == {"auto_norm"}
    assert {r.evaluation.samples for r in runs.values()} == {10_000}
    assert all(r.trainer.max_steps == 0 for name, r in runs.items() if name not in trained)
    assert runs["mnist-gan"].evaluation.cache_dir == "run/../../../cache"


def results(folder: Path, shift: float = 0.0, fid: dict | None = None) -> list[dict]:
    made = []
    for seed in range(3):
        for model, value in (fid or FID).items():
            sheet = f"mnist-{model}-seed{seed}/attempt-0/figures/samples_prior.png"
            save(grid(np.zeros((4, 1, 8, 8))), folder / "cells" / sheet)
            scores = {"fid": value + seed * (1 + shift), "is": IS[model] - 0.1 * seed, "kid": 0.002}
            scores |= {"precision": 0.5, "recall": 0.6, "classes": 10, "class_entropy": 2.2, "class_tv": 0.1}
            scores |= {"class_confidence": 0.8}
            metrics = {f"score/{name}/domain/prior": number for name, number in scores.items()}
            if model == "untrained":
                metrics |= {f"score/{n}/domain/mean_image": v + 40 * (n == "fid") for n, v in scores.items()}
                metrics |= {f"score/{n}/domain/training_images": 0.3 if n == "fid" else v for n, v in scores.items()}
            elif model != "gan":
                metrics |= {"test/elbo": -100.0 - seed}
            made.append(
                {
                    "arm": f"mnist-{model}",
                    "seed": seed,
                    "command": f"python train.py {model} {seed}",
                    "metrics": metrics,
                    "steps": 2000,
                    "sheets": {"prior": sheet},
                    "wall_seconds": 60.0,
                    "device": "cpu",
                    "git_revision": "abc",
                }
            )
    return made


def test_the_verdicts_follow_from_the_paired_differences(tmp_path):
    page = study().report(results(tmp_path), tmp_path).read_text()
    tables = (tmp_path / "tables.md").read_text()
    assert "Claim (i), FID: VAE below VAE-GAN below GAN, on mnist: refuted." in page
    assert "Claim (ii), IS: VAE below GAN below VAE-GAN, on mnist: refuted." in page
    assert "(iii)" in page and "untestable here; run study=collapse for vae, gan and vae_gan" in page
    (line,) = (line for line in tables.splitlines() if line.startswith("| (i) "))
    assert "VAE - VAE-GAN: 10 to 10; VAE-GAN - GAN: 10 to 10 | refuted |" in line
    assert "its published" not in page and "A claim is an order" in page


def test_a_table_as_published_is_confirmed(tmp_path):
    fid = {"vae": 20.0, "gan": 50.0, "vae_gan": 35.0, "untrained": 290.0}
    assert (
        "VAE below VAE-GAN below GAN, on mnist: confirmed."
        in study().report(results(tmp_path, fid=fid), tmp_path).read_text()
    )


def test_a_score_that_a_run_could_not_compute_leaves_its_claim_open(tmp_path):
    found = results(tmp_path)
    del found[1]["metrics"]["score/fid/domain/prior"]
    page = study().report(found, tmp_path).read_text()
    assert "VAE below VAE-GAN below GAN: untestable here; a run has no FID, its scores.json says why." in page
    assert "VAE below GAN below VAE-GAN, on mnist: refuted." in page and "On mnist a run has no FID" in page


def test_scores_stand_beside_the_baselines_and_the_published_table(tmp_path):
    study().report(results(tmp_path), tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    rows = {
        line.split(" | ")[0]: line for line in tables.split("## Final losses")[0].splitlines() if line.startswith("| ")
    }
    assert "| GAN | 11 ± 2.5 | 0.002 |" in rows["| GAN"]
    assert "330" not in rows["| untrained network"] and "| mean image | 331 ± 2.5 |" in rows["| mean image"]
    assert "| real training images (floor) | 0.3 |" in rows["| real training images (floor)"]
    published = tables.split("## Beside the published table")[1]
    assert "| VAE | 20 | 3.5 | 0.4 | 31 ± 2.5 | 3.9 ± 0.25 |" in published
    assert "| VAE-GAN | 35 | 4.8 | 0.6 | 21 ± 2.5 |" in published
    assert "−101 ± 2.5" in tables.split("## Final losses")[1]
    page = (tmp_path / "report.html").read_text()
    # The least of (290 + s) / (10 + s) and (330 + s) / (10 + s) over the seeds is that of the last.
    assert "GAN 24.3 and 27.7 times" in page
    assert page.count("data:image/png;base64,") == 1 + 4
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12


@pytest.mark.parametrize(
    ("slopes", "word"), [((2, 3, 1), "confirmed"), ((2, 1, 3), "refuted"), ((2, 3, 2), "untestable here")]
)
def test_the_claim_about_generations_comes_from_the_collapse_studies(tmp_path, slopes, word):
    for model, steepness in zip(("vae", "gan", "vae_gan"), slopes, strict=True):
        rows = [
            {
                "data": "mnist",
                "model": model,
                "policy": policy,
                "seed": seed,
                "generation": g,
                "fid": 10 + g * (steepness if policy == "replace" else 0) + 0.01 * (seed - 1) * g * len(model),
            }
            for policy in ("accumulate", "replace")
            for seed in range(3)
            for g in range(4)
        ]
        write_rows(tmp_path / "studies" / f"collapse-{model}-toy" / "results.csv", rows)
    page = study(collapse=tmp_path / "studies").report(results(tmp_path), tmp_path).read_text()
    assert f"VAE-GAN degrades more slowly over generations, on mnist: {word}." in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, "`data` must be at least one, all different, got \\[\\]"),
        ({"seeds": [0, 0]}, "`seeds` must be at least one, all different"),
        (
            {"scale": {**SCALE, "models": {"vae": [], "flow": []}}},
            "say how vae, gan, vae_gan are trained, got vae, flow",
        ),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        study(**changes)


@pytest.mark.slow
def test_the_whole_study_runs_on_small_digits(tmp_path):
    overrides = [
        *("trainer=cpu", "trainer.max_steps=300", "trainer.val_check_interval=1000000", "latent_dim=8"),
        *("callbacks.figures=null", "callbacks.progress_bar=null", "++trainer.enable_progress_bar=false"),
        *("evaluation.samples=400", "evaluation.resamples=1"),
    ]
    quoted = "[" + ",".join(f'"{value}"' for value in overrides) + "]"
    command = [sys.executable, str(ROOT / "study.py"), "study=vaegan", "study.data=[digits]", "study.seeds=[0]"]
    command += [f"study.scale.overrides={quoted}", f"paths.log_dir={tmp_path}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "study" / "vaegan-small"
    with (folder / "results.csv").open() as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    fid = "score/fid/domain/{}".format
    floor = float(rows["digits-untrained"][fid("training_images")])
    untrained = float(rows["digits-untrained"][fid("prior")])
    assert floor < 2 and all(
        floor < float(rows[f"digits-{m}"][fid("prior")]) < untrained for m in ("vae", "gan", "vae_gan")
    )
    # One classifier for all runs: FIDs of two feature spaces would not compare.
    assert len(list((folder / "cache" / "fidelity").glob("*.safetensors"))) == 1
    page = (folder / "report.html").read_text()
    assert "untestable here" in page and page.count("data:image/png;base64,") == 1 + 4
