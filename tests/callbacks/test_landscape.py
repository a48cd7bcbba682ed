"""`python train.py experiment=solve_*` in small: points, fit, search, errors and the folded landscape in the report."""

import json

import pytest
import torch

from lightning_gvae import cli
from lightning_gvae.callbacks.landscape import Landscape
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.models import VAE, SolveVAE
from lightning_gvae.problems.criteria import make_criterion
from tests.callbacks import quiet_trainer
from tests.cli.test_train import config

SMALL = [
    "data.n=150",
    "data.val_size=20",
    "data.test_size=20",
    "data.batch_size=30",
    "trainer.max_epochs=4",
    "trainer.check_val_every_n_epoch=2",
    "trainer.log_every_n_steps=5",
    "callbacks.progress_bar=null",
    "callbacks.latent_search.runs=8",
    "callbacks.latent_search.settings.generations=5",
    "callbacks.landscape.resolution=21",
]


def run(folder, experiment, *overrides):
    return cli.train(
        config(folder / "run", f"experiment={experiment}", f"paths.cache_dir={folder}", *SMALL, *overrides)
    )


def test_a_run_ends_with_errors_and_the_landscape(tmp_path):
    metrics = run(tmp_path, "solve_c2", "data.dims=4", "model.candidates=2")
    result = torch.load(tmp_path / "run/latent_search/result.pt", weights_only=True)["result"]["final"]
    problem = make_criterion("c2", 4)
    f = result["objective"].double()
    assert metrics["solve/f"] == pytest.approx(f.mean().item())
    assert metrics["solve/paper_error_pct"] == pytest.approx(100 * ((f - 320).abs() / 320).mean().item())
    assert metrics["solve/valid"] == pytest.approx((result["violations"] <= 0).double().mean().item())
    torch.testing.assert_close(problem.objective(result["decoded"]), result["objective"])
    figures = {path.name for path in (tmp_path / "run/figures").glob("*.png")}
    assert {"landscape.png", "latent_search_history.png", "learning_curves.png"} <= figures
    page = (tmp_path / "run/report.html").read_text()
    for text in (
        "SolveVAE on c2-4d",
        "Folded landscape",
        "solve/true_gap_pct",
        "trained on c2-4d for 20 optimiser steps",
    ):
        assert text in page, text
    index = json.loads((tmp_path / "run/figures/landscape.index.json").read_text())["figures"]
    assert index[0]["file"] == "landscape.png"


def test_the_checkpoint_evaluates_and_carries_the_range(tmp_path):
    metrics = run(tmp_path, "solve_c1", "data.dims=2", "model.candidates=2")
    again = cli.evaluate(
        config(tmp_path / "eval", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt", "trainer=cpu", name="eval")
    )
    assert again["test/recon"] == pytest.approx(metrics["test/recon"])


def test_a_learnt_prior_is_searched_in_its_noise(tmp_path):
    metrics = run(tmp_path, "solve_c5", "model.hidden=[8]", "model.prior_settings.hidden=8")
    assert 0 <= metrics["solve/valid"] <= 1
    assert (tmp_path / "run/figures/landscape.png").is_file()


def test_data_without_a_problem_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="DigitsDataModule lacks data_range, problem. Take data=criterion"):
        quiet_trainer(tmp_path, Landscape(), max_steps=1).fit(VAE((1, 8, 8)), datamodule=DigitsDataModule())
    with pytest.raises(ConfigError, match="`bound` must be a positive number, got 0"):
        Landscape(bound=0)


def test_figures_of_images_refuse_points(tmp_path):
    with pytest.raises(ConfigError, match=r"Figures draws images and this model's data have the shape \(2,\)"):
        cli.train(
            config(tmp_path / "run", "model=solve_vae", "data=criterion", "data.dims=2", f"paths.cache_dir={tmp_path}")
        )


def test_a_model_for_points_does_not_fit_images(tmp_path):
    with pytest.raises(ConfigError, match=r"`image_shape` of SolveVAE must be \(D,\)"):
        SolveVAE((1, 28, 28))
