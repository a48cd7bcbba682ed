"""Genome in the buffers of a module: read, written, and compared over the ranks."""

from collections.abc import Sequence

import torch
from torch import nn

from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.ranks import check_agreement

__all__ = ["check_ranks", "read_genome", "write_genome"]


def read_genome(module: nn.Module, genes: Sequence[str], own: Sequence[float]) -> tuple[float, ...]:
    """Values of the buffers that ``genes`` name.

    Args:
        module: Has them.
        genes: Names of scalar buffers, ``(d,)``.
        own: Values that a search believes in, ``(d,)`` or none: where a buffer holds one of them rounded to its own
            precision, the value itself is returned.
    """
    buffers = dict(module.named_buffers())
    values = [float(buffers[name]) for name in genes]
    if not own:
        return tuple(values)
    rounded = [
        float(torch.tensor(value, dtype=torch.float64).to(buffers[name].dtype))
        for name, value in zip(genes, own, strict=True)
    ]
    return tuple(mine if value == kept else value for mine, kept, value in zip(own, rounded, values, strict=True))


def write_genome(module: nn.Module, genes: Sequence[str], genome: Sequence[float]) -> None:
    """Set the buffers that ``genes`` name to the values ``(d,)``."""
    buffers = dict(module.named_buffers())
    for name, value in zip(genes, genome, strict=True):
        buffers[name].fill_(value)


def check_ranks(search: BetaSearch, genome: Sequence[float], device: torch.device) -> None:
    """Check that all ranks are at the same generation, with the same population and the same ``genome`` in force.

    Raises:
        DesyncError: They are not.
    """
    facts = {"generation": search.generation, "population": search.population.tolist(), "beta": tuple(genome)}
    check_agreement(facts, search.generation, device)
