"""The paper scales hold the papers' own settings; each expected value names where it is published."""

import math
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

# Shao et al., ControlVAE, ICML 2020: dSprites (P_PID.py and main of the released code), Adam 1e-4, 1.5 million
# iterations of 64 images, set-point from 0.5 by 0.15 nats every 5,000 iterations, beta from 1 without an upper bound.
CONTROL_VAE = {
    "model.network": "control64",
    "model.latent_dim": 10,
    "model.likelihood": "bernoulli",
    "model.optimizer.lr": 1e-4,
    "data.batch_size": 64,
    "trainer.max_steps": 1_500_000,
    "model.kp": 0.01,
    "model.ki": -0.001,
    "model.beta_min": 1,
    "model.beta_max": math.inf,
    "model.ramp_start": 0.5,
    "model.ramp_increment": 0.15,
    "model.ramp_period": 5000,
}
# Shao et al., DynamicVAE, CVPR 2022: the same task in its released script; its batches of 128 and 2 million iterations
# are not those of the study, whose arms share batch and length.
DYNAMIC_VAE = {
    "model.beta": 50,
    "model.schedule.kp": 0.01,
    "model.schedule.ki": -0.005,
    "model.schedule.beta_min": 0.1,
    "model.schedule.window": 5,
    "model.schedule.ramp_start": 0.5,
    "model.schedule.ramp_increment": 0.15,
    "model.schedule.ramp_period": 6000,
}
# Higgins et al. 2017, as eVAE names its baseline.
BETA_VAE = {"model.beta": 4, "model.optimizer.lr": 1e-4}
# eVAE, Wu, Cao and Qi 2022: "under fixed KL=19"; nothing else of it is published.
EVAE = {"callbacks.beta_evolution.search.target": 19}
# ControlVAE on Penn Treebank (PID.py): batches of 32, Adam 1e-3, at most 80,000 steps, LSTM VAE with 256 units and word
# vectors, 32 latents, dropout 0.5, beta in [0, 1]; sigmoid annealing over 10,000 steps.
TEXT = {
    "data.batch_size": 32,
    "model.latent_dim": 32,
    "model.hidden": 256,
    "model.embedding": 256,
    "model.dropout": 0.5,
    "model.optimizer.lr": 1e-3,
    "trainer.max_steps": 80_000,
    "trainer.gradient_clip_val": 5,
}
TEXT_CONTROL = {"model.kp": 0.01, "model.ki": -1e-4, "model.beta_min": 0, "model.beta_max": 1, "model.target_kl": 3}
# Dimanov et al., MONCAE 2021, section 4 and appendix B, and the released run.py.
MONCAE = {
    "callbacks.architecture_evolution.space.preset": "moncae_paper",
    "callbacks.architecture_evolution.space.max_blocks": 6,
    "callbacks.architecture_evolution.space.choices": None,
    "callbacks.architecture_evolution.population": 20,
    "callbacks.architecture_evolution.generations": 20,
    "callbacks.architecture_evolution.training.epochs": 5,
    "callbacks.architecture_evolution.training.patience": 1,
    "callbacks.architecture_evolution.training.batch_size": 256,
    "callbacks.architecture_evolution.training.train_images": None,
    "callbacks.architecture_evolution.training.score_images": None,
    "callbacks.architecture_evolution.training.score_split": "test",
    "callbacks.architecture_evolution.limits.max_macs": None,
    "callbacks.architecture_evolution.limits.loc_max": None,
    "callbacks.architecture_evolution.front.members": "population",
    "callbacks.architecture_evolution.objectives": ["loss", "loc"],
    "data.val_size": 0.1,
}
MONCAE_SEEDS = [46, 29, 12, 8, 68, 44, 32, 91, 85, 61]
# Bentley et al., SOLVE, PPSN 2022 (the released code).
SOLVE = {
    "runs": 100,
    "n": 5000,
    "candidates": 10,
    "epochs": 200,
    "batch_size": 64,
    "kl_scale": 1 / 64,
    "bound": 2,
    "flow_epochs": 100,
}


def cells(study: str, scale: str, tmp_path: Path) -> tuple[dict[str, DictConfig], Any]:
    """The first run of every arm, composed, and the study's settings."""
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("study", [f"study={study}", f"study/scale={scale}", f"paths.output_dir={tmp_path}"]).study
        made = instantiate(cfg, _convert_="all").cells()
        first = {cell.arm: cell for cell in reversed(made)}
        return {arm: compose("train", [*cell.overrides, "paths.output_dir=run"]) for arm, cell in first.items()}, cfg


@pytest.mark.parametrize(
    ("study", "scale", "arm", "expected"),
    [
        ("betas", "paper", "control_vae", CONTROL_VAE),
        ("betas", "paper", "dynamic_vae", DYNAMIC_VAE),
        ("betas", "paper", "beta_vae", BETA_VAE),
        ("betas", "paper", "evae", EVAE),
        ("kl_vanishing", "kl_vanishing_paper", "control_vae", TEXT | TEXT_CONTROL),
        ("kl_vanishing", "kl_vanishing_paper", "vae", TEXT),
        ("kl_vanishing", "kl_vanishing_paper", "annealed_vae", TEXT | {"model.schedule.steps": 10_000}),
        ("moncae", "moncae_paper", "mnist-chv_roulette", MONCAE),
        ("moncae", "moncae_paper", "cifar10-chv_roulette", MONCAE),
        ("moncae", "moncae_paper", "fashion_mnist-random", MONCAE),
    ],
)
def test_values_are_the_published_ones(study, scale, arm, expected, tmp_path):
    runs, _ = cells(study, scale, tmp_path)
    found = {name: OmegaConf.select(runs[arm], name, throw_on_missing=True) for name in expected}
    assert {name: list(v) if OmegaConf.is_list(v) else v for name, v in found.items()} == expected


def test_moncae_has_the_papers_algorithm_as_its_main_one_and_the_papers_seeds(tmp_path):
    runs, cfg = cells("moncae", "moncae_paper", tmp_path)
    assert list(cfg.seeds) == MONCAE_SEEDS and cfg.main == "chv_roulette"
    assert list(cfg.data) == ["mnist", "fashion_mnist", "cifar10"]
    # Only the main algorithm's members are fine-tuned, for 20 epochs.
    main = runs["mnist-chv_roulette"].callbacks.architecture_evolution
    assert main.algorithm == "chv_roulette" and main.front.finetune_epochs == 20


def test_solve_has_the_published_sizes():
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        scale = compose("study", ["study=solve", "paths.output_dir=x"]).study.scale
    assert {name: scale[name] for name in SOLVE} == SOLVE
