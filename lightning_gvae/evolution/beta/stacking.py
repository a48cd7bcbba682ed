"""Weights and optimisers of P networks as tensors with a leading dimension P.

Matrices are held transposed, ``(P, inputs, outputs)``, as the gradients of their products lie in memory with torch's
batched products: fused optimisers copy whatever is not contiguous.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_gvae.evolution.beta.genome_values import LEARNING_RATE
from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.operators import Array

__all__ = ["clip_each", "flipped", "line", "paces", "repeated", "stacked_optimizer"]


def paces(optimizer: Optimizer, names: Sequence[str], genomes: Array) -> Tensor | None:
    """Learning rates of the candidates relative to the optimiser's, ``(P,)``; None where it is no gene."""
    if LEARNING_RATE not in names:
        return None
    rates = genomes[:, list(names).index(LEARNING_RATE)]
    return torch.tensor(rates / float(optimizer.param_groups[0]["lr"]))


def flipped(tensor: Tensor) -> Tensor:
    """A matrix transposed, everything else as it is."""
    return tensor.mT if tensor.ndim == 2 else tensor


def repeated(tensor: Tensor, count: int) -> Tensor:
    """``(P, ...)``, contiguous."""
    return tensor.expand(count, *tensor.shape).clone(memory_format=torch.contiguous_format)


def stacked_optimizer(optimizer: Optimizer, stacked: dict[int, Tensor], count: int) -> Optimizer:
    """The same optimiser over stacked weights, its state repeated."""
    groups = [
        {**group, "params": [stacked[id(p)] for p in group["params"] if id(p) in stacked]}
        for group in optimizer.param_groups
    ]
    kind: Any = type(optimizer)  # one of ELEMENTWISE: each takes groups alone
    made: Optimizer = kind([group for group in groups if group["params"]])
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) in stacked and parameter in optimizer.state:
                state = optimizer.state[parameter]
                made.state[stacked[id(parameter)]] = {k: _state(k, v, parameter, count) for k, v in state.items()}
    return made


def _state(key: str, value: Any, parameter: Tensor, count: int) -> Any:
    if isinstance(value, Tensor):
        # The count of steps is common to all, and of the shape of a scalar parameter.
        own = key != "step" and value.shape == parameter.shape
        return repeated(flipped(value), count) if own else value.clone()
    return copy.deepcopy(value)


def line(start: Tensor | None, slope: Tensor | None, gene: Tensor) -> Tensor | None:
    """``start + gene * slope`` of a weight for each value of the gene, ``(P, ...)`` as stacked weights are held."""
    start, slope = (None if each is None else flipped(each).contiguous() for each in (start, slope))
    if slope is None:
        return None if start is None else repeated(start, len(gene))
    column = gene.to(slope).reshape(-1, *[1] * slope.ndim)
    return column * slope if start is None else torch.addcmul(start, column, slope)


def clip_each(gradients: Sequence[Tensor], clip: Clip) -> None:
    """Clip the gradients ``(P, ...)`` of each candidate as if it stood alone."""
    if not clip.value or not gradients:
        return
    if clip.algorithm == "value":
        for gradient in gradients:
            gradient.clamp_(-clip.value, clip.value)
        return
    norms = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    factor = (clip.value / (total + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))
