"""Measures of a candidate beside D and R: terms of its loss, and scores of its codes of the probe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_gvae.evolution.operators import Array

__all__ = ["Measures", "Observation", "measure"]


class Observation(NamedTuple):
    """View of a candidate on a batch of the probe.

    Attributes:
        terms: Means over the batch, ``(T,)``.
        mean: Means of the posteriors, ``(B, Z)``.
        log_var: Natural logarithms of their variances, ``(B, Z)``.
    """

    terms: Tensor
    mean: Tensor
    log_var: Tensor


@dataclass(frozen=True)
class Measures:
    """S measures by two functions: one that a network is traced by, and one of numbers.

    Args:
        names: Of the measures, ``(S,)``.
        observe: ``(module, batch, noise) -> Observation``.
        summarise: ``(terms (T,), mean (N, Z), log_var (N, Z)) -> (S,)`` of the whole probe.
    """

    names: Sequence[str]
    observe: Callable[[nn.Module, Any, torch.Generator], Observation]
    summarise: Callable[[Tensor, Tensor, Tensor], Array]


def measure(measures: Measures, seen: Sequence[tuple[Observation, float]]) -> Array:
    """Measures ``(S,)`` of one candidate from what was seen on the batches of the probe, each with its weight."""
    terms = torch.stack([weight * each.terms.double() for each, weight in seen]).sum(0)
    mean = torch.cat([each.mean for each, _ in seen])
    log_var = torch.cat([each.log_var for each, _ in seen])
    return measures.summarise(terms, mean, log_var)
