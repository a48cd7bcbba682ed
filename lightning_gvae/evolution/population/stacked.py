"""Members trained together: one network whose weights have a leading dimension m, by ``torch.func``."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lightning_gvae.evolution.beta.lookahead import Clip, ProbeLoss
from lightning_gvae.evolution.beta.obstacles import Footprint
from lightning_gvae.evolution.population.members import Member, MemberTraining, Noises
from lightning_gvae.rng import GivenNoise, standard_normal

__all__ = ["Stacked", "stacking_obstacle"]

# They update a weight by its own gradient and state alone, so transposed matrices move as others do.
ELEMENTWISE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
Named = dict[str, Tensor]


class Stacked(MemberTraining):
    """All members in one forward and one backward pass; equal to one after the other up to rounding.

    The weights of all members lie in one tensor ``(m, ...)`` for each parameter, and every member's parameters are
    views of its slice. So each member keeps its module and its optimiser, and scores, copies and checkpoints do not
    know of the stack. Matrices lie in memory as the gradients of batched products come, transposed ``(m, inputs,
    outputs)``, and so the optimisers hold them: fused ones would copy what lies otherwise. They must update a weight by
    its own gradient and state alone.

    Args:
        members: Members of one architecture.
        loss: Loss, D and R of a module on a batch.
        clip: Gradient clipping of each member alone.
        latent_dim: Z, of the noise ``(B, Z)`` that a member draws for a batch.
    """

    def __init__(self, members: Sequence[Member], loss: ProbeLoss, clip: Clip, latent_dim: int) -> None:
        super().__init__(members, loss, clip)
        self.latent_dim = latent_dim
        self._call = _Loss(members[0].module, loss)
        parameters = [dict(member.module.named_parameters()) for member in members]
        self._leaves: list[list[nn.Parameter]] = []  # what the optimisers hold, in the order of the weights
        self._weights: Named = {}
        for name, first in parameters[0].items():
            stack = torch.stack([_flipped(each[name].detach()) for each in parameters]).requires_grad_(
                first.requires_grad
            )
            self._weights[f"module.{name}"] = stack
            for place, each in enumerate(parameters):
                each[name].data = _flipped(stack.detach()[place])
        for place, member in enumerate(members):
            self._leaves.append(self._hand_over(member, parameters[place], place))
        self._buffers = [
            {f"module.{name}": buffer for name, buffer in member.module.named_buffers()} for member in members
        ]

    def losses(self, batch: Any, noises: Noises) -> Tensor:
        """Loss, D and R of all members ``(m, 3)``, with their graph."""
        like = next(iter(self._weights.values())).new_empty(len(batch), self.latent_dim)
        drawn = torch.stack([standard_normal(like, noise) for noise in noises])
        buffers = {name: torch.stack([each[name] for each in self._buffers]) for name in self._buffers[0]}
        draws: list[GivenNoise] = []

        def one(weights: Named, buffers: Named, noise: Tensor) -> Tensor:
            draws.append(GivenNoise(noise))
            used = {name: _flipped(weight) for name, weight in weights.items()}
            terms: tuple[Tensor, ...] = functional_call(self._call, {**used, **buffers}, (batch, draws[-1]))
            return torch.stack(terms)

        losses: Tensor = vmap(one)(self._weights, buffers, drawn)
        if any(each.taken != 1 for each in draws):
            raise RuntimeError("the model draws its noise otherwise than once a batch for its latents")
        return losses

    def step(self, batch: Any, noises: Noises) -> Tensor:
        """Train every member, see :class:`MemberTraining`."""
        losses = self.losses(batch, noises)
        trained = [weight for weight in self._weights.values() if weight.requires_grad]
        gradients = iter(torch.autograd.grad(losses[:, 0].sum(), trained, allow_unused=True))
        stacks = [next(gradients) if weight.requires_grad else None for weight in self._weights.values()]
        for place, member in enumerate(self.members):
            for leaf, stack in zip(self._leaves[place], stacks, strict=True):
                leaf.grad = None if stack is None else stack[place]
            self.clip(member.parameters)
            member.optimizer.step()
            member.optimizer.zero_grad(set_to_none=True)
        return losses.detach()

    def release(self) -> None:
        """Give every member parameters of its own again, in the usual order of memory."""
        for member, leaves in zip(self.members, self._leaves, strict=True):
            state = member.state_dict()
            parameters = list(member.module.parameters())
            for parameter in parameters:
                parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
            _replace(member, dict(zip(leaves, parameters, strict=True)), is_transposed=False)
            member.load_state_dict(state)

    def _hand_over(self, member: Member, parameters: dict[str, nn.Parameter], place: int) -> list[nn.Parameter]:
        """Let a member's optimiser hold slices of the stacks; returns them in the order of the weights."""
        state = member.state_dict()
        leaves = [
            nn.Parameter(self._weights[f"module.{name}"].detach()[place], requires_grad=parameter.requires_grad)
            for name, parameter in parameters.items()
        ]
        _replace(member, dict(zip(parameters.values(), leaves, strict=True)), is_transposed=True)
        member.load_state_dict(state)
        return leaves


def stacking_obstacle(members: Sequence[Member], stacked: Stacked, batch: Any, noises: Noises) -> str | None:
    """Reason why members cannot be trained together, or ``None``: tries a forward pass and compares.

    Args:
        members: The members.
        stacked: The same, stacked.
        batch: Batch to try.
        noises: Noise of the members; drawn from twice, so give fresh generators to the training.
    """
    module, optimizer = members[0].module, members[0].optimizer
    if type(optimizer) not in ELEMENTWISE:
        known = ", ".join(kind.__name__ for kind in ELEMENTWISE)
        return f"the optimiser is {type(optimizer).__name__}, not one of {known}"
    for name, part in module.named_modules():
        # torch has no public way to ask whether `module.compile()` was called.
        if getattr(part, "_compiled_call_impl", None) is not None:
            return f"`{name}` is compiled"
        if isinstance(part, DROPOUTS) and part.training and part.p > 0:
            return f"`{name}` drops units out at random"
    states = [noise.get_state() for noise in noises]
    footprint = Footprint(module, next(module.parameters()).device)
    with torch.no_grad():
        alone = torch.stack(
            [torch.stack(stacked.loss(m.module, batch, noise)) for m, noise in zip(members, noises, strict=True)]
        )
        if found := footprint.found():
            return found
        for noise, state in zip(noises, states, strict=True):
            noise.set_state(state)
        try:
            together = stacked.losses(batch, noises)
        except (RuntimeError, ValueError) as error:  # from vmap: values read off tensors, an operation without a rule
            return f"they do not run together ({str(error).splitlines()[0]})"
    if not torch.allclose(alone, together, rtol=1e-3, atol=1e-3, equal_nan=True):
        return "their losses together differ from those one after the other"
    return None


def _replace(member: Member, leaves: Mapping[nn.Parameter, nn.Parameter], is_transposed: bool) -> None:
    """Let a member's optimiser hold other tensors with the same values; its state is left to the caller."""
    member.is_transposed = is_transposed
    for group in member.optimizer.param_groups:
        group["params"] = [leaves[parameter] for parameter in group["params"]]
    member.optimizer.state.clear()


class _Loss(nn.Module):
    """The loss as the forward pass of a module, which is what ``functional_call`` wants."""

    def __init__(self, module: nn.Module, loss: ProbeLoss) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        return self.loss(self.module, batch, generator)


def _flipped(tensor: Tensor) -> Tensor:
    """A matrix transposed, everything else as it is."""
    return tensor.mT if tensor.ndim == 2 else tensor
