"""Genes of a member: scalar buffers of its module, and the learning rate of its optimiser."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene

__all__ = ["LEARNING_RATE", "check_genes", "genes_by_name", "read_genes", "write_genes"]

LEARNING_RATE = "optimizer.lr"


def genes_by_name(settings: Mapping[str, Gene | Mapping[str, Any] | None]) -> tuple[Gene, ...]:
    """Genes from a mapping of names to bounds, ``{"beta": {"low": 0.1, "high": 10.0}}``; None leaves one out.

    Raises:
        ConfigError: There is none, or the settings of one are refused.
    """
    if not isinstance(settings, Mapping) or all(given is None for given in settings.values()):
        raise ConfigError(
            f"`genes` must name at least one gene with its bounds, as {{beta: {{low: 0.1, high: 10}}}}, "
            f"got {settings!r}"
        )
    genes = []
    for name, given in settings.items():
        if given is None:
            continue
        if isinstance(given, Gene):
            genes.append(given)
            continue
        if not isinstance(given, Mapping) or not {"low", "high"} <= given.keys() <= {"low", "high", "scale"}:
            raise ConfigError(f"`genes.{name}` must have `low`, `high` and perhaps `scale`, got {given!r}")
        genes.append(Gene(str(name), float(given["low"]), float(given["high"]), given.get("scale", "log")))
    return tuple(genes)


def check_genes(names: Sequence[str], module: nn.Module) -> None:
    """Check that a module has the genes.

    Raises:
        ConfigError: A name is neither that of a scalar buffer nor ``optimizer.lr``.
    """
    there = sorted(name for name, buffer in module.named_buffers() if buffer.numel() == 1)
    missing = [name for name in names if name != LEARNING_RATE and name not in there]
    if missing:
        raise ConfigError(
            f"`genes` must name scalar buffers of the model or {LEARNING_RATE}, got {missing[0]}; the model has "
            f"{', '.join(there)}"
        )


def read_genes(names: Sequence[str], module: nn.Module, optimizer: Optimizer) -> tuple[float, ...]:
    """Values of the genes, ``(d,)``; the learning rate is that of the first group."""
    buffers = dict(module.named_buffers())
    return tuple(
        float(optimizer.param_groups[0]["lr"]) if name == LEARNING_RATE else float(buffers[name]) for name in names
    )


def write_genes(names: Sequence[str], values: Sequence[float], module: nn.Module, optimizer: Optimizer) -> None:
    """Set the genes; the learning rate in all groups of the optimiser."""
    buffers = dict(module.named_buffers())
    for name, value in zip(names, values, strict=True):
        if name == LEARNING_RATE:
            for group in optimizer.param_groups:
                group["lr"] = float(value)
        else:
            buffers[name].fill_(float(value))
