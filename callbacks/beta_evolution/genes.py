"""Genome where a run has it: read, written, checked before the first step, and compared over the ranks."""

from collections.abc import Sequence

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genome_values import LEARNING_RATE, assign, gene_values, has_gene
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.ranks import check_agreement
from lightning_gvae.interfaces import NamesOptimizer, TrainsJointly, offers

__all__ = ["check_genes", "check_ranks", "read_genome", "searched_optimizers", "write_genome"]


def read_genome(
    module: nn.Module, optimizers: Sequence[Optimizer], genes: Sequence[str], own: Sequence[float]
) -> tuple[float, ...]:
    """Values of the genes.

    Args:
        module: Has their buffers.
        optimizers: Of the look-ahead; the first has the learning rate.
        genes: Names, ``(d,)``.
        own: Values that a search believes in, ``(d,)`` or none: where a buffer holds one of them rounded to its own
            precision, the value itself is returned.
    """
    values = gene_values(module, optimizers[0], genes)
    if not own:
        return tuple(values)
    buffers = dict(module.named_buffers())
    rounded = [
        value if name == LEARNING_RATE else float(torch.tensor(value, dtype=torch.float64).to(buffers[name].dtype))
        for name, value in zip(genes, own, strict=True)
    ]
    return tuple(mine if value == kept else value for mine, kept, value in zip(own, rounded, values, strict=True))


def write_genome(
    module: nn.Module, optimizers: Sequence[Optimizer], genes: Sequence[str], genome: Sequence[float]
) -> None:
    """Set the genes to the values ``(d,)``."""
    assign(module, optimizers, genes, genome)


def searched_optimizers(
    trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[str]
) -> tuple[Optimizer, ...]:
    """Optimisers looked ahead with: the one whose loss beta is in, and those whose loss another gene is in."""
    first = pl_module.beta_optimizer if offers(pl_module, NamesOptimizer) else 0
    further = pl_module.gene_optimizers if offers(pl_module, TrainsJointly) else {}
    numbers = dict.fromkeys([first, *(further[name] for name in genes if name in further)])
    return tuple(trainer.optimizers[number] for number in numbers)


def check_genes(trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[str]) -> None:
    """Check that the run has the genes, and that nothing else writes them.

    Raises:
        ConfigError: A gene is neither a scalar buffer nor the learning rate, a learning-rate schedule writes that, or
            free bits are switched off.
    """
    missing = [name for name in genes if not has_gene(pl_module, name)]
    if missing:
        known = sorted(name for name, buffer in pl_module.named_buffers() if buffer.numel() == 1)
        raise ConfigError(
            f"`genes` must name scalar buffers of the module, which has no {missing}; it has {known}, and "
            f"'{LEARNING_RATE}' is the learning rate"
        )
    if LEARNING_RATE in genes and trainer.lr_scheduler_configs:
        raise ConfigError(
            f"the gene '{LEARNING_RATE}' is written by `model.lr_scheduler` at every step; set that to null, or take "
            "the gene out"
        )
    if "free_bits" in genes and not getattr(pl_module, "has_free_bits", True):
        raise ConfigError(
            "the gene 'free_bits' has no effect in a model that was built without: start from a value within its "
            "bounds (model.free_bits)"
        )


def check_ranks(search: BetaSearch, genome: Sequence[float], device: torch.device) -> None:
    """Check that all ranks are at the same generation, with the same population and the same ``genome`` in force.

    Raises:
        DesyncError: They are not.
    """
    facts = {"generation": search.generation, "population": search.population.tolist(), "beta": tuple(genome)}
    check_agreement(facts, search.generation, device)
