"""The collapse study: what its configurations are, what it writes, and that it goes on after a stop."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.models import VAE
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.collapse.chain import generation_folder
from lightning_gvae.studies.collapse.classification import SCORES
from lightning_gvae.studies.collapse.report import write_collapse_report
from lightning_gvae.studies.collapse.slopes import read_rows
from lightning_gvae.studies.collapse.study import CollapseStudy

ROOT = Path(__file__).resolve().parents[3]
IMAGES = {
    "generations": 2,
    "train_images": 300,
    "samples": 150,
    "batch_size": 32,
    "score_images": 200,
    "accelerator": "cpu",
}
SCALE = {
    "name": "toy",
    "about": "made up",
    "gaussian": {"points": [20], "generations": 3, "chains": 50, "at": [3]},
    "images": IMAGES,
    "steps": {"vae": 10},
}
MODELS = {"vae": partial(VAE, latent_dim=4, network="mlp")}


def study(**changes) -> CollapseStudy:
    settings: dict[str, Any] = {
        "model": "vae",
        "scale": SCALE,
        "models": MODELS,
        "data": DigitsDataModule(),
        "seeds": [0],
    }
    return CollapseStudy(**settings | changes)


@pytest.mark.parametrize("model", ["gaussian1d", "vae", "gan", "vae_gan"])
@pytest.mark.parametrize("scale", ["collapse_small", "collapse_paper"])
def test_every_model_and_scale_is_a_study(model, scale, tmp_path):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        chosen = ["study=collapse", f"study/scale={scale}", f"study.model={model}", f"paths.output_dir={tmp_path}"]
        made = instantiate(compose("study", [*chosen, f"paths.data_dir={tmp_path}"]).study, _convert_="all")
    assert made.name == f"collapse-{model}"
    labels = [policy.label for policy in made.policies]
    if model == "gaussian1d":
        assert labels == ["replace", "accumulate", "accumulate_subsample", "augment", "fresh-0.1"]
        return
    assert labels == ["replace", "accumulate"] and made.settings.generations >= 9
    chains = made.chains(tmp_path)
    assert len({chain.place for chain in chains}) == 6
    assert [(chain.seed, chain.policy.label) for chain in chains[:3]] == [
        (0, "replace"),
        (0, "accumulate"),
        (1, "replace"),
    ]
    # A share of new images must be there for every generation: MNIST has 55,000 to train on.
    images = made.settings
    assert images.train_images + 0.1 * images.drawn * (images.generations - 1) <= 55_000


def test_other_settings_are_other_chains_and_the_same_are_the_same(tmp_path):
    first = {chain.place for chain in study().chains(tmp_path)}
    assert first == {chain.place for chain in study().chains(tmp_path)}
    for changes in ({"warm_start": True}, {"sampling_bias": 0.9}, {"scale": {**SCALE, "steps": {"vae": 11}}}):
        assert first.isdisjoint(chain.place for chain in study(**changes).chains(tmp_path))
    bigger = study(models={"vae": partial(VAE, latent_dim=5, network="mlp")})
    assert first.isdisjoint(chain.place for chain in bigger.chains(tmp_path))


def test_a_study_of_images_writes_what_it_found(tmp_path):
    report = study(seeds=[0, 1], policy=["replace", "augment"]).run(tmp_path)
    rows = read_rows(tmp_path / "results.csv")
    assert [(row["policy"], row["seed"], row["generation"]) for row in rows] == [
        (policy, seed, g) for seed in (0, 1) for policy in ("replace", "augment") for g in (0, 1)
    ]
    page = report.read_text()
    assert page.count("data:image/png;base64,") == 3 and page.count("data:image/gif;base64,") == 1
    assert "Under replace the variety of the samples" in page and "2 seeds" in page
    assert "| augment, 1 |" in (tmp_path / "tables.md").read_text()
    # Again: nothing is trained.
    times = {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/generations/*/*")}
    assert len(times) == 4 * 2 * 4
    study(seeds=[0, 1], policy=["replace", "augment"]).run(tmp_path)
    assert times == {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/generations/*/*")}


def test_finished_chains_are_classified_without_training_a_model(tmp_path):
    study(policy="replace").run(tmp_path)
    models = {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/generations/*/model.safetensors")}
    study(policy="replace", classification=True).run(tmp_path)
    assert models == {file: file.stat().st_mtime_ns for file in models}
    rows = read_rows(tmp_path / "results.csv")
    assert len(rows) == 2 and all(0 <= row[name] <= 1 for row in rows for name in SCORES)
    assert "## Classification" in (tmp_path / "tables.md").read_text()
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/generations/*/classification.json")}
    study(policy="replace", classification=True).run(tmp_path)
    assert len(kept) == 2 and kept == {file: file.stat().st_mtime_ns for file in kept}


def row(policy, seed, generation, trace, recall, fid):
    metrics = {"log_feature_trace": trace, "recall": recall, "fid": fid}
    return {"data": "toy", "model": "vae", "policy": policy, "seed": seed, "generation": generation, **metrics}


def made_up(folder: Path) -> dict[str, Path]:
    """Chains of four generations whose samples are there; their metrics are made up by the tests."""
    shown = {}
    for policy in ("replace", "accumulate"):
        shown[policy] = folder / policy
        images = np.full((40, 1, 8, 8), 100, np.uint8)
        for generation in range(4):
            path = generation_folder(shown[policy], generation) / "samples.npz"
            path.parent.mkdir(parents=True)
            np.savez(path, images=images)
    return shown


def written(rows: list[dict], folder: Path) -> Path:
    shown = made_up(folder)
    return write_collapse_report(rows, list(shown), shown, folder, "made up", {"generations": 4})


def test_the_answer_follows_from_the_slopes(tmp_path):
    rows = []
    for seed in range(3):
        for g in range(4):
            rows.append(row("replace", seed, g, 4 - (0.5 + 0.01 * seed) * g, 0.6 - 0.2 * g, 5 + 3 * g))
            rows.append(row("accumulate", seed, g, 4 + 0.01 * (seed - 1) * g, 0.6, 5))
    report = written(rows, tmp_path)
    page, tables = report.read_text(), (tmp_path / "tables.md").read_text()
    # By hand: slopes -0.50, -0.51, -0.52; t(0.975, 2) * 0.01 / sqrt(3) = 0.0248.
    assert "Under replace the variety of the samples falls: log trace(cov) moves by −0.51 a generation" in page
    assert "(95 % interval −0.5348 to −0.4852, 3 seeds)" in page
    assert "Under accumulate the variety of the samples does not clearly change" in page
    assert (
        "half of generation 0&#x27;s, seed by seed: 2, 2, 2." in page and "seed by seed: never, never, never." in page
    )
    assert "accumulate loses less variety a generation than replace (0.4603 to 0.5597)" in page
    assert "| replace | −0.5348 to −0.4852 | 3 to 3 | −0.2 to −0.2 | 2, 2, 2 |  |" in tables


def test_what_the_seeds_do_not_say_is_not_said(tmp_path):
    rows = []
    for seed, lost in enumerate((0.5, -0.4, 0.1)):
        for g in range(4):
            rows += [row("replace", seed, g, 4 - lost * g, 0.0, 5), row("accumulate", seed, g, 4, 0.5, 5)]
    written(rows, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Under replace the variety of the samples does not clearly change" in page
    assert "Whether accumulate loses less variety than replace cannot be told" in page
    assert "none to lose (0 at generation 0)" in page


def test_one_dimension_needs_no_data(tmp_path):
    report = study(model="gaussian1d", data=None, policy="replace").run(tmp_path)
    assert "Model collapse in one dimension (toy scale)" in report.read_text()


def test_a_chain_that_fails_is_named_and_the_others_are_finished(tmp_path):
    asked = study(policy=["fresh", "replace"], fresh=1.0, scale={**SCALE, "images": IMAGES | {"samples": 1100}})
    with pytest.raises(CellError, match="1 of 2 chains failed; the first: vae-fresh-1-seed0-.* need 1400 real images"):
        asked.run(tmp_path)
    assert len(list(tmp_path.glob("cells/vae-replace-*/generations/*/metrics.json"))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "diffusion"}, "`model` must be one of gaussian1d, vae, got 'diffusion'"),
        (
            {"policy": "mix"},
            "`policy` must be one of replace, accumulate, accumulate_subsample, augment, fresh, got 'mix'",
        ),
        (
            {"policy": "fresh", "fresh": 1.2},
            "`fresh` must be the share of new real images, above 0 and at most 1, got 1.2",
        ),
        ({"policy": "fresh", "fresh": -0.2}, "above 0 and at most 1, got -0.2"),
        ({"seeds": []}, "`seeds` must be at least one, all different"),
        ({"seeds": [1, 1]}, "`seeds` must be at least one, all different"),
        ({"data": None}, "`data` must be labelled images for model=vae"),
        ({"scale": {**SCALE, "steps": {}}}, "`scale.steps` must say how long vae is trained"),
        ({"scale": {**SCALE, "images": IMAGES | {"generations": 1}}}, "`generations` must be an integer of at least 2"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_models_that_have_no_name_and_no_workers_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="`models` must be classes, or functools.partial of classes"):
        study(models={"vae": lambda image_shape, seed: None}).run(tmp_path)
    with pytest.raises(ConfigError, match="`workers` must be at least 1, got 0"):
        study().run(tmp_path, 0)


def start(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    settings = ["study/data=digits", "study.model=vae", "study.seeds=[0]", f"paths.log_dir={folder}"]
    settings += [f"study.scale.images.{name}={value}" for name, value in (IMAGES | {"generations": 3}).items()]
    command = [
        sys.executable,
        str(ROOT / "study.py"),
        "study=collapse",
        *settings,
        "study.scale.steps.vae=60",
        *overrides,
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, env=os.environ)


@pytest.mark.slow
def test_a_killed_study_goes_on_and_two_workers_find_the_same(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    assert start(straight, "workers=2").wait(timeout=600) == 0
    first = start(killed)
    deadline = time.monotonic() + 300
    place = killed / "study/collapse-vae-small"
    while len(list(place.glob("cells/*/generations/*/metrics.json"))) < 2:
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    done = {file: file.stat().st_mtime_ns for file in place.glob("cells/*/generations/*/metrics.json")}
    assert 2 <= len(done) < 6
    assert start(killed).wait(timeout=600) == 0
    assert all(file.stat().st_mtime_ns == when for file, when in done.items())
    tables = [(folder / "study/collapse-vae-small/results.csv").read_text() for folder in (straight, killed)]
    assert tables[0] == tables[1]
