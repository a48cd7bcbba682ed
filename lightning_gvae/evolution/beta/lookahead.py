"""Look-ahead: the effect of each genome, by training a copy for a few steps or by prediction from gradients.

At fixed weights neither D nor R depends on the KL weight, so a fitness without look-ahead cannot rank candidates.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from lightning_gvae.evolution.beta.genome_values import assign
from lightning_gvae.evolution.beta.measures import Measures, measure
from lightning_gvae.evolution.model_copy import ModelCopy, Noise
from lightning_gvae.evolution.operators import Array

__all__ = [
    "Clip",
    "ProbeLoss",
    "Trial",
    "assign",
    "first_order",
    "first_order_passes",
    "lookahead",
    "lookahead_passes",
    "probe_noise",
    "score",
]

# (module, batch, noise) -> loss to minimise, D, R: scalars, the mean over the batch; genes are buffers of the module.
ProbeLoss = Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Clip:
    """Gradient clipping of the training that is looked ahead.

    Args:
        value: Largest norm, or largest absolute entry; ``None`` or 0 for no clipping.
        algorithm: ``"norm"`` or ``"value"``.
    """

    value: float | None = None
    algorithm: Literal["norm", "value"] = "norm"

    def __call__(self, parameters: Iterable[Tensor]) -> None:
        """Clip the gradients of ``parameters`` in place."""
        if self.value:
            clip = clip_grad_value_ if self.algorithm == "value" else clip_grad_norm_
            clip(parameters, self.value)


@dataclass(frozen=True)
class Trial:
    """Conditions that all candidates of a generation share, so that they differ by their genes alone.

    Args:
        probe_loss: See :data:`ProbeLoss`.
        steps: K lists of micro-batches; the mean of their gradients makes one optimiser step.
        probe: Pairs of batch and weight; the weighted mean of D and R over them is the score. Weights add up to 1.
        noise: Common random numbers.
        genes: Names of what a genome sets, ``(d,)``: scalar buffers, or the learning rate, see
            :mod:`~lightning_gvae.evolution.beta.genome_values`.
        clip: Gradient clipping of the training.
        measures: Further columns of the scores; None for D and R alone.
    """

    probe_loss: ProbeLoss
    steps: Sequence[Sequence[Any]]
    probe: Sequence[tuple[Any, float]]
    noise: Noise
    genes: Sequence[str]
    clip: Clip = Clip()
    measures: Measures | None = None

    @property
    def width(self) -> int:
        """Columns of the scores."""
        return 2 if self.measures is None else 2 + len(self.measures.names)


def lookahead(model_copy: ModelCopy, trial: Trial, genomes: Array) -> Array:
    """Score of each genome after K real optimiser steps under it.

    Every candidate starts from the live weights and optimiser state and sees the same batches and noise.

    Args:
        model_copy: Copy to train; restored before each candidate.
        trial: What the candidates share.
        genomes: ``(P, d)``.

    Returns:
        ``(P, 2 + S)`` of D and R on the probe, in the units of the loss, and of the measures.
    """
    rows = [_train_and_score(model_copy, trial, genome) for genome in genomes]
    return np.array(rows, dtype=np.float64).reshape(-1, trial.width)


def lookahead_passes(candidates: int, steps: int, batch_size: int, probe: int) -> int:
    """Cost of :func:`lookahead` in sample-passes: 1 for a forward, 2 for a backward pass of one sample."""
    return candidates * (3 * steps * batch_size + probe)


def score(model_copy: ModelCopy, trial: Trial) -> tuple[float, ...]:
    """D, R and the measures of the copy as it stands on the probe, in the mode that its modules are in."""
    module, seen = model_copy.module, []
    with torch.no_grad():
        total = torch.zeros(2, dtype=torch.float64)
        for index, (batch, weight) in enumerate(trial.probe):
            _, d, r = trial.probe_loss(module, batch, trial.noise.generator(probe_noise(index)))
            total += weight * torch.stack([d, r]).cpu().double()
            if trial.measures is not None:
                noise = trial.noise.generator(probe_noise(index))
                seen.append((trial.measures.observe(module, batch, noise), weight))
        further = [] if trial.measures is None else measure(trial.measures, seen).tolist()
    return float(total[0]), float(total[1]), *further


def first_order(model_copy: ModelCopy, trial: Trial, genomes: Array) -> Array:
    r"""Score of each KL weight as predicted to first order, without training under it.

    .. math:: D_\beta \approx D_0 + \nabla D \cdot \Delta_\beta,\quad R_\beta \approx R_0 + \nabla R \cdot \Delta_\beta

    The gradients stand for the probe; :math:`\Delta_\beta` is the move that the optimiser itself (moments, weight
    decay, clipping) makes in K steps on the gradient :math:`\nabla D + \beta \nabla R` of one training batch, held
    fixed. Two pairs of backward passes serve any number of candidates. Rely on it for R; D, the small difference of
    large changes, is often ranked wrongly.

    Args:
        model_copy: Copy to differentiate; restored before each candidate.
        trial: What the candidates share; the micro-batches of its first step are the training batch, and K is
            the number of its steps.
        genomes: ``(P, 1)`` of KL weights.

    Returns:
        ``(P, 2)`` of D and R predicted for the probe.
    """
    model_copy.restore()
    trial.noise.reseed()
    batches = [(batch, 1.0 / len(trial.steps[0])) for batch in trial.steps[0]]
    train = _gradients(model_copy, trial, batches, noise_of=lambda index: index)
    model_copy.restore()
    probe = _gradients(model_copy, trial, trial.probe, noise_of=probe_noise)
    rows = []
    for genome in genomes:
        model_copy.restore()
        before = [p.detach().clone() for p in model_copy.parameters]
        for _ in trial.steps:
            for p, d, r in zip(model_copy.parameters, train.d, train.r, strict=True):
                p.grad = d + float(genome[0]) * r
            trial.clip(model_copy.parameters)
            model_copy.step()
        moves = [p.detach() - old for p, old in zip(model_copy.parameters, before, strict=True)]
        rows.append([probe.value_d + _dot(probe.d, moves), probe.value_r + _dot(probe.r, moves)])
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def first_order_passes(batch_size: int, probe: int) -> int:
    """Cost of :func:`first_order` in sample-passes: one forward and two backward passes of batch and probe."""
    return 5 * (batch_size + probe)


def _train_and_score(model_copy: ModelCopy, trial: Trial, genome: Array) -> tuple[float, ...]:
    model_copy.restore()
    assign(model_copy.module, model_copy.optimizers, trial.genes, genome)
    trial.noise.reseed()
    k = 0
    for micro_batches in trial.steps:
        model_copy.zero_grad()
        for batch in micro_batches:
            loss, _, _ = trial.probe_loss(model_copy.module, batch, trial.noise.generator(k))
            (loss / len(micro_batches)).backward()
            k += 1
        trial.clip(model_copy.parameters)
        model_copy.step()
    return score(model_copy, trial)


@dataclass(frozen=True)
class _Gradients:
    value_d: float
    value_r: float
    d: list[Tensor]
    r: list[Tensor]


def _gradients(
    model_copy: ModelCopy, trial: Trial, batches: Sequence[tuple[Any, float]], noise_of: Callable[[int], int]
) -> _Gradients:
    """Value and gradient of D and R, averaged over weighted batches."""
    parameters = model_copy.parameters
    values = torch.zeros(2, dtype=torch.float64)
    sums = [[torch.zeros_like(p) for p in parameters] for _ in range(2)]
    for index, (batch, weight) in enumerate(batches):
        _, d, r = trial.probe_loss(model_copy.module, batch, trial.noise.generator(noise_of(index)))
        values += weight * torch.stack([d.detach(), r.detach()]).cpu().double()
        for total, term in zip(sums, (d, r), strict=True):
            gradients = torch.autograd.grad(term, parameters, retain_graph=term is d, allow_unused=True)
            for accumulated, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    accumulated.add_(gradient, alpha=weight)
    return _Gradients(float(values[0]), float(values[1]), *sums)


def probe_noise(index: int) -> int:
    """Counter of the noise of a probe batch, out of the way of those of the training steps."""
    return -1 - index


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return float(torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).cpu().double().sum())
