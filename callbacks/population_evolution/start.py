"""Members at the start of a run: checks of what a population needs, weights from each member's seed, optimisers."""

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from lightning_gvae.callbacks.beta_evolution.objective import check_objective
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.evolution.population.genes import check_genes
from lightning_gvae.evolution.population.members import Member
from lightning_gvae.interfaces import ConditionedModel, DrawsTrainingNoise, HasSchedule, SharesBatches, offers, require
from lightning_gvae.lightning_compat import datamodule_of

__all__ = ["check_population_run", "make_member"]

SETTING = "callbacks.population_evolution"
# What a model does here it does to the model of the run alone, and not to copies of it.
HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "optimizer_step",
    "configure_gradient_clipping",
)


def check_population_run(trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[str]) -> DrawsTrainingNoise:
    """The module, if members of it can be trained in this run.

    Args:
        trainer: Of the run.
        pl_module: The model.
        genes: Names of the genes.

    Raises:
        ConfigError: They cannot; the message says why and what to change.
    """
    remedy = f"Choose model=vae or a variant of it, or remove {SETTING}"
    module = require(pl_module, DrawsTrainingNoise, "PopulationEvolution", remedy)
    check_objective(pl_module, "PopulationEvolution", SETTING)
    _check_own_steps(type(pl_module))
    if offers(pl_module, HasSchedule) and pl_module.schedule is not None:
        raise ConfigError(
            f"PopulationEvolution keeps the KL weight of a member as it is or evolves it, but the model's schedule "
            f"{type(pl_module.schedule).__name__} writes `beta`; choose a model without one (model=vae)"
        )
    if offers(pl_module, ConditionedModel):
        raise ConfigError(
            f"PopulationEvolution gives each member a KL weight, but {type(pl_module).__name__} is one network for all "
            "of them, whose front is in its report; choose model=vae"
        )
    module.claim_beta("PopulationEvolution")
    check_genes(genes, pl_module)
    if trainer.accumulate_grad_batches != 1:
        raise ConfigError(
            f"`trainer.accumulate_grad_batches` must be 1 with PopulationEvolution, got "
            f"{trainer.accumulate_grad_batches}; enlarge data.batch_size instead"
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise ConfigError(
            f"`trainer.precision` must be 32-true or bf16-mixed with PopulationEvolution, got {trainer.precision}: "
            "the members would share one scale of the gradients"
        )
    strategy = trainer.strategy
    if isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
        raise ConfigError(
            f"PopulationEvolution splits members over the ranks, `trainer.strategy` {type(strategy).__name__} would "
            "split their weights; use 'ddp' or a single device"
        )
    if any(isinstance(each, WeightAveraging) for each in trainer.callbacks):  # type: ignore[attr-defined]
        raise ConfigError(
            "PopulationEvolution trains members, whose weights a WeightAveraging callback does not see; remove one of "
            f"the two (~callbacks.ema or ~{SETTING})"
        )
    if trainer.world_size > 1:
        data = datamodule_of(trainer)
        if not offers(data, SharesBatches):
            raise ConfigError(
                "PopulationEvolution on several ranks trains all members on the same batches, so its data module must "
                f"have `same_batches`, which {type(data).__name__} has not; use one of this package or one device"
            )
        data.same_batches = True
    return module


def _check_own_steps(kind: type[L.LightningModule]) -> None:
    """Refuse a model that trains by more than the loss on its terms.

    Raises:
        ConfigError: It has hooks of its own for every step, or a ``training_step`` without its noise.
    """
    own = [name for name in HOOKS if getattr(kind, name) is not getattr(L.LightningModule, name)]
    if own:
        raise ConfigError(
            f"PopulationEvolution trains copies of the model, which Lightning does not know of, but {kind.__name__} "
            f"does something of its own at every step (`{own[0]}`); choose another model (model=vae), or "
            f"remove {SETTING}"
        )
    step, noise = (
        next(each for each in kind.__mro__ if name in vars(each)) for name in ("training_step", "training_noise")
    )
    if not issubclass(noise, step):
        raise ConfigError(
            f"PopulationEvolution trains copies of the model on `loss(trained_terms(images))` with their "
            f"`training_noise`, but {kind.__name__} has a `training_step` of its own; let the same class define "
            f"`training_noise(self, epoch, batch)`, or remove {SETTING}"
        )


def make_member(pl_module: L.LightningModule, number: int, seed: int, fresh: bool) -> Member:
    """A member: a copy of the model with a seed of its own.

    Args:
        pl_module: The run's module, on its device.
        number: Place in the population.
        seed: Of its weights and noise.
        fresh: Whether to draw the weights that a run of this seed would start from; else they are the module's.

    Raises:
        ConfigError: The model cannot be made anew from its hyper-parameters, or has more than one optimiser or a
            schedule of the learning rate.
    """
    own = dict(vars(pl_module))
    step = pl_module.__dict__.pop("training_step", None)
    try:
        module = copy.deepcopy(pl_module)
    finally:
        if step is not None:
            pl_module.__dict__["training_step"] = step
    assert dict(vars(pl_module)).keys() == own.keys()
    module.seed = seed  # type: ignore[assignment]
    if fresh:
        _load_parameters(module, _fresh_weights(pl_module, seed))
    module.train()
    return Member(number, module, _optimizer(module))


@torch.no_grad()
def _load_parameters(module: L.LightningModule, weights: Mapping[str, Tensor]) -> None:
    """Take over parameters; buffers may hold what the model was told of its data."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])


def _fresh_weights(pl_module: L.LightningModule, seed: int) -> dict[str, Tensor]:
    """Weights and buffers of the model that a run with ``seed`` builds."""
    settings: dict[str, Any] = dict(pl_module.hparams)
    if "seed" in settings:
        settings["seed"] = seed
    with preserved_rng(torch.device("cpu")):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        made = type(pl_module)(**settings).state_dict()
    there = pl_module.state_dict()
    if {name: value.shape for name, value in made.items()} != {name: value.shape for name, value in there.items()}:
        raise ConfigError(
            f"PopulationEvolution makes the members of {type(pl_module).__name__} anew from its hyper-parameters, "
            "which give another network than the model has; name the network (`model.network`) instead of "
            "giving modules"
        )
    return made


def _optimizer(module: L.LightningModule) -> Optimizer:
    made = module.configure_optimizers()
    if isinstance(made, Optimizer):
        return made
    raise ConfigError(
        "PopulationEvolution trains members with one optimiser and a learning rate that is constant or a gene; set "
        "model.lr_scheduler=null, or choose a model of one optimiser"
    )
