"""Values of genes where a run has them: scalar buffers of the module, and the learning rate of its optimiser."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["LEARNING_RATE", "assign", "gene_values", "has_gene", "set_learning_rate"]

LEARNING_RATE = "optimizer.lr"
"""Name of the gene that is the learning rate and no buffer."""


def has_gene(module: nn.Module, name: str) -> bool:
    """Whether there is such a gene: the learning rate, or a buffer with one number."""
    return name == LEARNING_RATE or any(n == name and b.numel() == 1 for n, b in module.named_buffers())


def gene_values(module: nn.Module, optimizer: Optimizer, names: Sequence[str]) -> list[float]:
    """Values of genes, ``(d,)``; the learning rate is that of the optimiser's first group."""
    buffers = dict(module.named_buffers())
    return [float(optimizer.param_groups[0]["lr"]) if n == LEARNING_RATE else float(buffers[n]) for n in names]


@torch.no_grad()
def assign(module: nn.Module, optimizers: Iterable[Optimizer], names: Sequence[str], genome: Iterable[float]) -> None:
    """Give genes their values.

    Args:
        module: Has the buffers.
        optimizers: Whose learning rate a gene may be.
        names: Names of the genes, ``(d,)``.
        genome: Their values, ``(d,)``.
    """
    buffers = dict(module.named_buffers())
    for name, value in zip(names, genome, strict=True):
        if name == LEARNING_RATE:
            set_learning_rate(optimizers, float(value))
        else:
            buffers[name].fill_(float(value))


def set_learning_rate(optimizers: Iterable[Optimizer], value: float) -> None:
    """Set the learning rate of the first group of the first optimiser; all others keep their ratio to it."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    first = float(groups[0]["lr"])
    for group in groups:
        rate = group["lr"]
        new = value if float(rate) == first else float(rate) / first * value
        if isinstance(rate, Tensor):  # what compiled optimisers hold on to
            rate.fill_(new)
        else:
            group["lr"] = new
