"""study=latent_search on a checkpoint, through the functions that the command line calls."""

import csv
import json

import pytest
import torch
from hydra import compose, initialize_config_module

from lightning_gvae import cli
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import SearchResult

SETTINGS = ["study.runs=3", "study.settings.population=6", "study.settings.generations=4", "study.problem.wanted=3"]


def config(folder, *overrides, name):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", f"paths.cache_dir={folder}/cache", *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps with a search at its end."""
    folder = tmp_path_factory.mktemp("run")
    small = [setting.replace("study.", "callbacks.latent_search.") for setting in SETTINGS]
    metrics = cli.train(
        config(
            folder,
            "data=digits",
            "trainer=cpu",
            "trainer.max_steps=20",
            "test=false",
            "callbacks.figures.n_samples=4",
            "+callbacks/latent_search=default",
            *small,
            name="train",
        )
    )
    return folder, metrics


def test_a_run_with_the_callback_reports_what_was_found(trained):
    folder, metrics = trained
    stored = torch.load(folder / "latent_search" / "result.pt", weights_only=True)
    result = SearchResult.from_tensors(stored["result"])
    assert result.final.decoded.shape == (3, 1, 8, 8)
    text = (folder / "report.html").read_text(encoding="utf-8")
    for title in ("Latent search", "Latent search, generation by generation", "Latent search, what the runs found"):
        assert f"<b>{title}</b>" in text
    assert "Reconstructions" in text
    assert "val/elbo" in metrics


def test_a_checkpoint_is_searched_as_the_run_itself_was(trained, tmp_path):
    folder, _ = trained
    checkpoint = folder / "checkpoints" / "last.ckpt"
    report = cli.study(config(tmp_path, "study=latent_search", f"ckpt_path={checkpoint}", *SETTINGS, name="study"))
    place = report.parent
    assert place.parent == tmp_path
    assert "Latent search in VAE on digits" in report.read_text(encoding="utf-8")
    mine, theirs = (
        SearchResult.from_tensors(torch.load(where / "latent_search" / "result.pt", weights_only=True)["result"])
        for where in (place, folder)
    )
    assert torch.equal(mine.final.latents, theirs.final.latents)
    with (place / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["objective"]) for row in rows] == mine.final.objective.tolist()
    assert [row["valid"] for row in rows] == ["True"] * 3
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["latent_search/objective_mean"] == pytest.approx(mine.final.objective.mean().item())

    # Again: it is done already, and another class is another search.
    written = (place / "latent_search" / "result.pt").read_bytes()
    cli.study(config(tmp_path, "study=latent_search", f"ckpt_path={checkpoint}", *SETTINGS, name="study"))
    again = torch.load(place / "latent_search" / "result.pt", weights_only=True)
    assert again["key"] == torch.load(folder / "latent_search" / "result.pt", weights_only=True)["key"]
    other = [*SETTINGS[:-1], "study.problem.wanted=5"]
    cli.study(config(tmp_path, "study=latent_search", f"ckpt_path={checkpoint}", *other, name="study"))
    assert (place / "latent_search" / "result.pt").read_bytes() != written


def test_the_study_needs_a_checkpoint(tmp_path):
    with pytest.raises(ConfigError, match=r"searches in a trained model: give `ckpt_path=...`"):
        cli.study(config(tmp_path, "study=latent_search", name="study"))


def test_studies_that_train_take_no_checkpoint(trained, tmp_path):
    checkpoint = trained[0] / "checkpoints" / "last.ckpt"
    with pytest.raises(ConfigError, match="study=betas trains its own models; leave `ckpt_path` out"):
        cli.study(config(tmp_path, "study=betas", f"ckpt_path={checkpoint}", name="study"))
