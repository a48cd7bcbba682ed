"""``ckpt_path=last`` is the newest run of the same model and data, and says which."""

import os

import pytest

from lightning_gvae.cli.restore import resolve_checkpoint
from lightning_gvae.errors import CheckpointError
from tests.cli.test_train import SMALL, config, run_train

QUICK = ("trainer.max_steps=2", "test=false", "callbacks.figures=null")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Four runs, oldest first, and a damaged one."""
    logs = tmp_path_factory.mktemp("logs")
    runs = {
        "vae": ("model=vae",),
        "cyclical": ("model=cyclical_vae",),
        "wide": ("model=vae", "latent_dim=5"),
        "beta": ("model=beta_vae",),
    }
    for number, (name, settings) in enumerate(runs.items()):
        run_train(logs / f"train/runs/{name}", *settings, *QUICK)
        os.utime(logs / f"train/runs/{name}/checkpoints/last.ckpt", (number, number))
    damaged = logs / "train/runs/damaged/checkpoints/last.ckpt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no checkpoint")
    return logs


def chosen(logs, *settings):
    cfg = config(logs / "train/runs/now", *SMALL, f"paths.log_dir={logs}", "ckpt_path=last", *settings)
    return resolve_checkpoint(cfg)


@pytest.mark.parametrize(
    ("settings", "run", "passed"),
    [
        (
            ("model=vae",),
            "vae",
            ("damaged (damaged)", "beta (BetaVAE on DigitsDataModule)", "wide (model.latent_dim 5, not 8)"),
        ),
        (("model=vae", "model.network=auto"), "vae", ("wide (model.latent_dim 5, not 8)",)),
        (("model=vae", "latent_dim=5"), "wide", ("beta (BetaVAE",)),
        (("model=beta_vae",), "beta", ("damaged (damaged)",)),
        (("model=cyclical_vae",), "cyclical", ("beta", "wide")),
        (("model=vae", "model.optimizer.lr=1", "seed=3", "model.beta=2"), "vae", ("cyclical",)),
    ],
)
def test_the_newest_of_the_same_model_and_data_is_chosen_and_said(logs, settings, run, passed, capsys):
    path = chosen(logs, *settings)
    assert path == f"{logs}/train/runs/{run}/checkpoints/last.ckpt"
    said = capsys.readouterr().out
    assert f"going on from {path} (finished)" in said
    for text in passed:
        assert f"{logs}/train/runs/{text}" in said


def test_nothing_is_said_of_others_where_the_newest_fits(logs, capsys):
    (logs / "train/runs/damaged/checkpoints/last.ckpt").unlink()
    try:
        chosen(logs, "model=beta_vae")
    finally:
        (logs / "train/runs/damaged/checkpoints/last.ckpt").write_bytes(b"no checkpoint")
    assert "passed over" not in capsys.readouterr().out


def test_without_a_run_of_this_model_and_data_it_is_said_what_there_is(logs):
    with pytest.raises(
        CheckpointError, match="finds no .* of this model and data; there are .*BetaVAE on DigitsDataModule"
    ):
        chosen(logs, "model=control_vae")
    with pytest.raises(
        CheckpointError, match="finds no .* of this model and data; there are .*VAE on DigitsDataModule"
    ):
        chosen(logs, "model=vae", "data=dsprites")
