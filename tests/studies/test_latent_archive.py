"""study=latent_archive on a checkpoint, through the functions that the command line calls."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from lightning_gvae import cli
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive.result import ArchiveResult

SETTINGS = [
    "study.settings.iterations=6",
    "study.settings.batch_size=40",
    "study.settings.initial=60",
    "study.settings.shape=[8,8]",
    "study.goal.descriptors.slant=[-0.3,0.2]",
    "study.goal.descriptors.thickness=[2,3.5]",
]


def config(folder: Path, *overrides: str, name: str) -> Any:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, [f"paths.output_dir={folder}", f"paths.cache_dir={folder}/cache", *overrides])


def archive(folder: Path) -> ArchiveResult:
    with np.load(folder / "latent_archive" / "archive.npz", allow_pickle=False) as stored:
        return ArchiveResult.from_arrays(stored)


def test_a_run_fills_an_archive_and_its_checkpoint_fills_the_same(tmp_path: Path) -> None:
    small = [setting.replace("study.", "callbacks.latent_archive.") for setting in SETTINGS]
    run, study = tmp_path / "run", tmp_path / "study"
    cli.train(
        config(
            run,
            "data=digits",
            "trainer=cpu",
            "trainer.max_steps=60",
            "test=false",
            "callbacks.figures.n_samples=4",
            "+callbacks/latent_archive=default",
            *small,
            name="train",
        )
    )
    assert "<b>Elites of the archive</b>" in (run / "report.html").read_text(encoding="utf-8")
    checkpoint = run / "checkpoints" / "last.ckpt"
    report = cli.study(config(study, "study=latent_archive", f"ckpt_path={checkpoint}", *SETTINGS, name="study"))
    assert "Archive of VAE on digits" in report.read_text(encoding="utf-8")
    first, second = archive(run), archive(report.parent)
    assert len(first.raw) > 3
    for name, values in first.arrays().items():
        assert np.array_equal(values, second.arrays()[name]), name
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert metrics["latent_archive/coverage"] == first.coverage()


def test_without_a_checkpoint_the_study_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give `ckpt_path="):
        cli.study(config(tmp_path, "study=latent_archive", name="study"))
