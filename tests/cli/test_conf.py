"""Every choice in conf/ composes, and every ``_target_`` in it is a class that takes those arguments."""

import inspect
from functools import cache
from pathlib import Path

import pytest
import wandb
from hydra import compose, initialize_config_module
from hydra.utils import get_object
from lightning.pytorch.loggers import CometLogger, WandbLogger
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = ("model", "data", "evaluation", "callbacks", "trainer", "logger", "experiment", "debug")
ADDED = ("callbacks/scores", "callbacks/latent_archive", "callbacks/latent_search")  # with a + on the command line
# What a choice leaves to the user.
GIVEN = {
    ("data", "own"): ["data._target_=lightning_gvae.datamodules.digits.DigitsDataModule"],
    ("data", "arrays"): ["data.path=images.npy"],
    ("data", "huggingface"): ["data.path=trees.parquet"],
    ("data", "dataset"): ["data.dataset._target_=torch.nn.Identity"],
}
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
CHOICES += [
    ("callbacks/scores", "cheap"),
    ("callbacks/latent_search", "default"),
    ("callbacks/latent_archive", "default"),
]
for own in ("callbacks/beta_evolution", "callbacks/architecture_evolution", "callbacks/population_evolution"):
    CHOICES += [(own, path.stem) for path in sorted((CONF / own).glob("*"))]


def composed(*overrides, name="train"):
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        return compose(name, ["paths.output_dir=out", *overrides])


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


@cache
def resolved(group, choice):
    base = ["model=evae"] if group.startswith("callbacks/") else []
    base = ["model=conv_autoencoder"] if group == "callbacks/architecture_evolution" else base
    base = ["model=multi_rate_vae"] if choice == "conditioned" else base
    overrides = [f"{'+' if group in ADDED else ''}{group}={choice}", *GIVEN.get((group, choice), ())]
    name = "eval" if choice == "eval" else "train"
    if name == "eval":
        base = ["ckpt_path=x"]
    return OmegaConf.to_container(composed(*base, *overrides, name=name), resolve=True)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_choice_composes_and_its_targets_take_their_arguments(group, choice):
    nodes = list(targets(resolved(group, choice)))
    assert nodes
    for node in nodes:
        path = node["_target_"]
        assert path.startswith(("lightning_gvae.", "lightning.", "torch.", "torchmetrics.")), path
        target = get_object(path)
        arguments = {key for key in node if not key.startswith("_")}
        parameters = inspect.signature(target).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            passed_on = [wandb.init] if target is WandbLogger else getattr(target, "options_type", target).__mro__[:-1]
            parameters = {name: None for taker in (target, *passed_on) for name in inspect.signature(taker).parameters}
            if target is CometLogger:
                parameters |= dict.fromkeys(("name", "tags"))  # of comet_ml.ExperimentConfig
        assert arguments <= set(parameters), f"{path}: unknown {arguments - set(parameters)}"


def test_the_model_brings_its_callback_along_and_it_can_be_tuned_replaced_and_removed():
    assert composed("model=evae").callbacks.beta_evolution.interval == 250
    assert "beta_evolution" not in composed("model=vae").callbacks
    assert composed("model=evae", "callbacks.beta_evolution.interval=50").callbacks.beta_evolution.interval == 50
    other = composed("model=evae", "callbacks/beta_evolution=evae_fo").callbacks.beta_evolution
    assert other.evaluator == "first_order"
    assert (
        composed("model=evae", "callbacks/beta_evolution=evae_random").callbacks.beta_evolution.search.method
        == "random"
    )
    assert "beta_evolution" not in composed("model=evae", "~callbacks.beta_evolution").callbacks
    assert set(composed("model=evae", "callbacks=none").callbacks) == {"beta_evolution"}


def test_the_set_point_follows_the_data_and_the_command_line_wins():
    assert composed("model=evae").callbacks.beta_evolution.search.target == 19
    assert composed("model=evae", "data=digits").callbacks.beta_evolution.search.target == 6
    assert composed("model=control_vae", "data=digits", "target_kl=3").model.target_kl == 3


@pytest.mark.parametrize(
    "override", ["+trainer.fast_dev_run=true", "trainer.devices=2", "+trainer.limit_val_batches=1"]
)
def test_documented_trainer_overrides_compose(override):
    key, value = override.lstrip("+").split("=")
    assert str(OmegaConf.select(composed(override), key)).lower() == value


def test_experiments_say_their_command_and_defaults_know_every_group():
    for path in (CONF / "experiment").glob("*.yaml"):
        assert f"experiment={path.stem}" in path.read_text().splitlines()[1]
