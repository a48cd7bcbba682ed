"""All candidates of a generation trained together: one network whose weights have a leading dimension P.

For small fully connected networks the sequential look-ahead spends half of its time between the matrix products: on
Python, on fresh gradients, on P forward passes through one and the same network in the first step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from lightning_gvae.devices import widest_float
from lightning_gvae.evolution.beta.genome_values import LEARNING_RATE
from lightning_gvae.evolution.beta.gradients import laid_out, plus
from lightning_gvae.evolution.beta.lookahead import ProbeLoss, Trial, probe_noise
from lightning_gvae.evolution.beta.measures import Observation, measure
from lightning_gvae.evolution.beta.stacking import clip_each, flipped, line, paces, repeated, stacked_optimizer
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.evolution.operators import Array

__all__ = ["lookahead_batched", "unsupported_reason"]

# They update a weight by its own gradient and state alone, so stacked weights move as single ones.
ELEMENTWISE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

Named = dict[str, Tensor]


def lookahead_batched(model_copy: ModelCopy, trial: Trial, genomes: Array) -> Array:
    r"""Look-ahead with all candidates at once, equal to that of one after the other up to rounding.

    Adam makes steps of full length of gradients that are nothing but rounding: where a weight has such a gradient and
    no history, a single candidate may differ by more, some 1e-4 in D and R.

    All candidates start from the same weights. So where the loss is affine in the one gene, as
    :math:`D + \beta R` is, the first step needs one forward pass and two backward passes, whatever P:

    .. math:: \nabla L_i = \nabla D + \beta_i \nabla R

    A learning rate that is a gene scales the moves of the run's optimiser: those of all that are taken here are
    proportional to it.

    Later steps are those of a network with stacked weights ``(P, ...)``, traced by ``vmap`` and trained by the run's
    own optimiser over the stacked weights. What the optimiser does not train is shared by all. The memory needed is P
    times that of weights, gradients and optimiser state.

    Args:
        model_copy: Copy to start from; restored before, not trained.
        trial: What the candidates share.
        genomes: ``(P, d)``.

    Returns:
        ``(P, 2 + S)`` of D and R on the probe, in the units of the loss, and of the measures.
    """
    if not len(genomes):
        return np.empty((0, trial.width))
    model_copy.restore()
    network = _Stacked(model_copy, trial, genomes)
    k = 0
    for number, micro_batches in enumerate(trial.steps):
        batches = [(batch, k + offset) for offset, batch in enumerate(micro_batches)]
        k += len(micro_batches)
        # Two backward passes and a forward one are worth it from three candidates on.
        gradients = network.shared_gradients(batches) if number == 0 and len(genomes) > 2 else None
        network.step(gradients or network.gradients(batches))
    return network.score()


def unsupported_reason(module: nn.Module, optimizer: Optimizer) -> str | None:
    """Reason why candidates of this module cannot be trained together, or ``None`` if they can.

    Asks for networks of linear layers in the mode that they are in; scalar parameters may stand anywhere. A
    :class:`~lightning_gvae.evolution.beta.obstacles.Footprint` tells what cannot be seen from outside.

    Args:
        module: Module to look ahead with.
        optimizer: What trains it.
    """
    if type(optimizer) not in ELEMENTWISE:
        known = ", ".join(kind.__name__ for kind in ELEMENTWISE)
        return f"the optimiser is {type(optimizer).__name__}, not one of {known}"
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, part in module.named_modules():
        if isinstance(part, DROPOUTS) and part.training and part.p > 0:
            return f"`{name}` drops units out at random"
        if isinstance(part, nn.Linear):
            continue
        if any(id(p) in trained and p.numel() > 1 for p in part.parameters(recurse=False)):
            return f"`{name}` is a {type(part).__name__}, not a linear layer"
    return None


class _ProbeLoss(nn.Module):
    """The loss as the forward pass of a module, which is what ``functional_call`` wants."""

    def __init__(self, module: nn.Module, probe_loss: ProbeLoss) -> None:
        super().__init__()
        self.module, self.probe_loss = module, probe_loss

    def forward(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        return self.probe_loss(self.module, batch, generator)


class _Observed(nn.Module):
    """View of the measures, as the forward pass of a module."""

    def __init__(self, module: nn.Module, observe: Callable[[nn.Module, Any, torch.Generator], Observation]) -> None:
        super().__init__()
        self.module, self.observe = module, observe

    def forward(self, batch: Any, generator: torch.Generator) -> Observation:
        return self.observe(self.module, batch, generator)


class _Stacked:
    """P copies of the trained weights, and their optimiser, see :mod:`~lightning_gvae.evolution.beta.stacking`."""

    def __init__(self, model_copy: ModelCopy, trial: Trial, genomes: Array) -> None:
        self._trial, self._call = trial, _ProbeLoss(model_copy.module, trial.probe_loss)
        buffers = dict(model_copy.module.named_buffers())
        # Beside the weights, also where the buffers are not: many values are no numbers that every device takes.
        device = model_copy.parameters[0].device
        self._genes: Named = {
            f"module.{name}": torch.tensor(column, dtype=torch.float64)
            .to(device, _type_on(device, buffers[name].dtype))
            .reshape(-1, *buffers[name].shape)
            for name, column in zip(trial.genes, genomes.T.tolist(), strict=True)
            if name != LEARNING_RATE
        }
        self._count = len(genomes)
        self._paces = paces(model_copy.optimizer, trial.genes, genomes)
        self._module = model_copy.module
        names = {id(parameter): f"module.{name}" for name, parameter in model_copy.module.named_parameters()}
        self._live: Named = {names[id(parameter)]: parameter for parameter in model_copy.parameters}
        self._weights: Named = {
            name: repeated(flipped(p.detach()), len(genomes)).requires_grad_() for name, p in self._live.items()
        }
        stacked = {id(parameter): self._weights[name] for name, parameter in self._live.items()}
        self._optimizer = stacked_optimizer(model_copy.optimizer, stacked, len(genomes))

    def gradients(self, batches: Sequence[tuple[Any, int]]) -> list[Tensor | None]:
        """Gradients ``(P, ...)`` of the mean loss over micro-batches, each with the number of its noise."""
        total: list[Tensor | None] = [None] * len(self._weights)
        for batch, number in batches:
            losses = self._forward(self._weights, batch, number)[0]
            parts = torch.autograd.grad(losses.sum() / len(batches), list(self._weights.values()), allow_unused=True)
            total = [plus(old, new) for old, new in zip(total, parts, strict=True)]
        return total

    def shared_gradients(self, batches: Sequence[tuple[Any, int]]) -> list[Tensor | None] | None:
        """The same while all weights are equal and the loss affine in the one gene; ``None`` if it is not."""
        if len(self._genes) != 1:
            return None
        ((name, gene),) = self._genes.items()
        anchors = torch.cat([torch.tensor([0, 1]).to(gene).reshape(2, *gene.shape[1:]), gene])
        plain: list[Tensor | None] = [None] * len(self._live)
        slope = list(plain)
        for batch, number in batches:
            losses = self._losses_by_gene(name, anchors, batch, number) / len(batches)
            values = losses.detach()
            expected = values[0] + anchors.flatten().to(values) * (values[1] - values[0])
            if not torch.allclose(values, expected, rtol=1e-4, equal_nan=True):
                return None
            # Weights of D and R in the gradient: exactly zero for the term that is not wanted.
            for total, (first, second) in ((plain, (1.0, 0.0)), (slope, (-1.0, 1.0))):
                weights = torch.zeros_like(values)
                weights[0], weights[1] = first, second
                parts = torch.autograd.grad(
                    losses, list(self._live.values()), weights, retain_graph=total is plain, allow_unused=True
                )
                total[:] = [plus(old, new) for old, new in zip(total, parts, strict=True)]
        return [line(a, b, gene) for a, b in zip(plain, slope, strict=True)]

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """One step of the optimiser."""
        clip_each([gradient for gradient in gradients if gradient is not None], self._trial.clip)
        for weight, gradient in zip(self._weights.values(), gradients, strict=True):
            weight.grad = laid_out(gradient, weight)
        before = None if self._paces is None else [weight.detach().clone() for weight in self._weights.values()]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if before is not None and self._paces is not None:
            with torch.no_grad():
                for old, weight in zip(before, self._weights.values(), strict=True):
                    weight.copy_(torch.lerp(old, weight, self._paces.to(weight).reshape(-1, *[1] * (weight.ndim - 1))))

    @torch.no_grad()
    def score(self) -> Array:
        """D, R and the measures ``(P, 2 + S)`` on the probe."""
        total = torch.zeros(self._count, 2, dtype=torch.float64)
        seen: list[tuple[Observation, float]] = []
        for index, (batch, weight) in enumerate(self._trial.probe):
            _, d, r = self._forward(self._weights, batch, probe_noise(index))
            total += weight * torch.stack([d, r], dim=1).cpu().double()
            if self._trial.measures is not None:
                seen.append((self._observe(batch, probe_noise(index)), weight))
        measures = self._trial.measures
        if measures is None:
            return total.numpy()
        alone = [
            [(Observation(*(part[number] for part in stacked)), weight) for stacked, weight in seen]
            for number in range(self._count)
        ]
        return np.concatenate([total.numpy(), np.stack([measure(measures, each) for each in alone])], axis=1)

    def _observe(self, batch: Any, number: int) -> Observation:
        """View of each candidate, ``(P, ...)``."""
        assert self._trial.measures is not None
        call = _Observed(self._module, self._trial.measures.observe)
        return Observation(*self._mapped(call, self._weights, batch, number))

    def _forward(self, weights: Named, batch: Any, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, D and R ``(P,)``; all candidates see the same noise."""
        losses, recons, kls = self._mapped(self._call, weights, batch, number)
        return losses, recons, kls

    def _mapped(self, call: nn.Module, weights: Named, batch: Any, number: int) -> tuple[Tensor, ...]:
        """Results ``(P, ...)`` of a module that holds the network under its name ``module``."""

        def one(weights: Named, genes: Named) -> tuple[Tensor, ...]:
            used = {name: flipped(weight) for name, weight in weights.items()}
            found = functional_call(call, {**used, **genes}, (batch, self._trial.noise.generator(number)))
            return tuple(found)

        mapped: tuple[Tensor, ...] = _each(one)(weights, self._genes)
        return mapped

    def _losses_by_gene(self, name: str, values: Tensor, batch: Any, number: int) -> Tensor:
        """Loss at the weights as they are for each value of the gene, by one forward pass."""

        def one(value: Tensor) -> Tensor:
            loss: Tensor = functional_call(self._call, {name: value}, (batch, self._trial.noise.generator(number)))[0]
            return loss

        losses: Tensor = _each(one)(values)
        return losses


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` over the leading dimension of its arguments, with the same random numbers for each."""
    return vmap(function, randomness="same")


def _type_on(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The type, or the widest that the device has."""
    return widest_float(device) if dtype == torch.float64 else dtype
