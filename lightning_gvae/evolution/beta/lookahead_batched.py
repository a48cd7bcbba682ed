"""All candidates of a generation trained together: one network whose weights have a leading dimension P.

For small fully connected networks the sequential look-ahead spends half of its time between the matrix products: on
Python, on fresh gradients, on P forward passes through one and the same network in the first step.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from lightning_gvae.evolution.beta.gradients import laid_out, plus
from lightning_gvae.evolution.beta.lookahead import Clip, ProbeLoss, Trial, probe_noise
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

    Later steps are those of a network with stacked weights ``(P, ...)``, traced by ``vmap`` and trained by the run's
    own optimiser over the stacked weights. What the optimiser does not train is shared by all. The memory needed is P
    times that of weights, gradients and optimiser state.

    Args:
        model_copy: Copy to start from; restored before, not trained.
        trial: What the candidates share.
        genomes: ``(P, d)``.

    Returns:
        ``(P, 2)`` of D and R on the probe, in the units of the loss.
    """
    if not len(genomes):
        return np.empty((0, 2))
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
        # torch has no public way to ask whether `module.compile()` was called.
        if getattr(part, "_compiled_call_impl", None) is not None:
            return f"`{name}` is compiled"
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


class _Stacked:
    """P copies of the trained weights, and their optimiser.

    Matrices are held as the gradients of their products lie in memory, transposed ``(P, inputs, outputs)`` with torch's
    batched products: fused optimisers copy whatever is not contiguous.
    """

    def __init__(self, model_copy: ModelCopy, trial: Trial, genomes: Array) -> None:
        self._trial, self._call = trial, _ProbeLoss(model_copy.module, trial.probe_loss)
        buffers = dict(model_copy.module.named_buffers())
        self._genes: Named = {
            f"module.{name}": torch.tensor(column, dtype=torch.float64)
            .to(buffers[name])
            .reshape(-1, *buffers[name].shape)
            for name, column in zip(trial.genes, genomes.T.tolist(), strict=True)
        }
        names = {id(parameter): f"module.{name}" for name, parameter in model_copy.module.named_parameters()}
        self._live: Named = {names[id(parameter)]: parameter for parameter in model_copy.parameters}
        self._weights: Named = {
            name: _repeated(_flipped(p.detach()), len(genomes)).requires_grad_() for name, p in self._live.items()
        }
        stacked = {id(parameter): self._weights[name] for name, parameter in self._live.items()}
        self._optimizer = _stacked_optimizer(model_copy.optimizer, stacked, len(genomes))

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
        return [_line(a, b, gene) for a, b in zip(plain, slope, strict=True)]

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """One step of the optimiser."""
        _clip_each([gradient for gradient in gradients if gradient is not None], self._trial.clip)
        for weight, gradient in zip(self._weights.values(), gradients, strict=True):
            weight.grad = laid_out(gradient, weight)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def score(self) -> Array:
        """D and R ``(P, 2)`` on the probe."""
        total = torch.zeros(len(next(iter(self._genes.values()))), 2, dtype=torch.float64)
        for index, (batch, weight) in enumerate(self._trial.probe):
            _, d, r = self._forward(self._weights, batch, probe_noise(index))
            total += weight * torch.stack([d, r], dim=1).cpu().double()
        return total.numpy()

    def _forward(self, weights: Named, batch: Any, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, D and R ``(P,)``; all candidates see the same noise."""

        def one(weights: Named, genes: Named) -> tuple[Tensor, Tensor, Tensor]:
            used = {name: _flipped(weight) for name, weight in weights.items()}
            loss, recon, kl = functional_call(
                self._call, {**used, **genes}, (batch, self._trial.noise.generator(number))
            )
            return loss, recon, kl

        losses, recons, kls = _each(one)(weights, self._genes)
        return losses, recons, kls

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


def _flipped(tensor: Tensor) -> Tensor:
    """A matrix transposed, everything else as it is."""
    return tensor.mT if tensor.ndim == 2 else tensor


def _repeated(tensor: Tensor, count: int) -> Tensor:
    """``(P, ...)``, contiguous."""
    return tensor.expand(count, *tensor.shape).clone(memory_format=torch.contiguous_format)


def _stacked_optimizer(optimizer: Optimizer, stacked: dict[int, Tensor], count: int) -> Optimizer:
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
        return _repeated(_flipped(value), count) if own else value.clone()
    return copy.deepcopy(value)


def _line(start: Tensor | None, slope: Tensor | None, gene: Tensor) -> Tensor | None:
    """``start + gene * slope`` of a weight for each value of the gene, ``(P, ...)`` as stacked weights are held."""
    start, slope = (None if each is None else _flipped(each).contiguous() for each in (start, slope))
    if slope is None:
        return None if start is None else _repeated(start, len(gene))
    column = gene.to(slope).reshape(-1, *[1] * slope.ndim)
    return column * slope if start is None else torch.addcmul(start, column, slope)


def _clip_each(gradients: Sequence[Tensor], clip: Clip) -> None:
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
