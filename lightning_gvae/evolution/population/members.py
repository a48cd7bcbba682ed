"""Members of a population: a module, its optimiser and its seed; training one after the other, and scoring."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.evolution.beta.lookahead import Clip, ProbeLoss

__all__ = ["Member", "MemberTraining", "OneByOne", "cloned_weights", "score_member"]

Noises = Sequence[torch.Generator]


@dataclass
class Member:
    """A member of a population.

    Args:
        number: Its place in the population.
        module: Its weights and buffers.
        optimizer: What trains them.
        is_transposed: Whether the optimiser holds matrices transposed, see
            :class:`~lightning_gvae.evolution.population.stacked.Stacked`.
    """

    number: int
    module: nn.Module
    optimizer: Optimizer
    is_transposed: bool = False

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser updates."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers and optimiser state, copied to the CPU in the usual order of memory."""
        state = self.optimizer.state_dict()
        moments = {number: self._turned(values) for number, values in state["state"].items()}
        return {
            "weights": cloned_weights(self.module),
            "optimizer": _plain({"state": moments, "param_groups": state["param_groups"]}),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; weights keep their place in memory."""
        self.module.load_state_dict(state["weights"])
        moments = {number: self._turned(values) for number, values in state["optimizer"]["state"].items()}
        self.optimizer.load_state_dict({"state": moments, "param_groups": state["optimizer"]["param_groups"]})
        self.optimizer.zero_grad(set_to_none=True)

    def _turned(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """State of a parameter, its matrices transposed and copied if those of the optimiser are."""
        return {name: _turned(value) if self.is_transposed else value for name, value in values.items()}


class MemberTraining:
    """One optimiser step of all members of this rank at a time; how is for subclasses.

    Args:
        members: The members.
        loss: Loss, D and R of a module on a batch.
        clip: Gradient clipping of each member alone.
    """

    def __init__(self, members: Sequence[Member], loss: ProbeLoss, clip: Clip) -> None:
        self.members, self.loss, self.clip = list(members), loss, clip

    def step(self, batch: Any, noises: Noises) -> Tensor:
        """Train every member on a batch, each with its own noise; ``(m, 3)`` of loss, D and R before the step."""
        raise NotImplementedError


class OneByOne(MemberTraining):
    """Members trained one after the other: each as it would be alone, bit for bit."""

    def step(self, batch: Any, noises: Noises) -> Tensor:
        """Train every member, see :class:`MemberTraining`."""
        rows = []
        for member, noise in zip(self.members, noises, strict=True):
            member.optimizer.zero_grad(set_to_none=True)
            terms = self.loss(member.module, batch, noise)
            terms[0].backward()
            self.clip(member.parameters)
            member.optimizer.step()
            rows.append(torch.stack([term.detach() for term in terms]))
        return torch.stack(rows)


@torch.no_grad()
def score_member(
    module: nn.Module,
    loss: ProbeLoss,
    probe: Iterable[tuple[Any, float]],
    noise: Callable[[int], torch.Generator],
) -> dict[str, float]:
    """``distortion``, ``rate`` and ``nelbo`` of a module in evaluation mode, nats.

    Args:
        module: The module; given back in the mode that it was in.
        loss: Loss, D and R.
        probe: Batches and their weights, which add up to 1.
        noise: Generator of the noise of a batch by its number, the same for all members.
    """
    was_training = module.training
    module.eval()
    total = torch.zeros(2, dtype=torch.float64)
    for index, (batch, weight) in enumerate(probe):
        _, d, r = loss(module, batch, noise(index))
        total += weight * torch.stack([d, r]).cpu().double()
    module.train(was_training)
    distortion, rate = total.tolist()
    return {"distortion": distortion, "rate": rate, "nelbo": distortion + rate}


def cloned_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module, copied to the CPU in the usual order of memory."""
    return {name: _cloned(value) for name, value in module.state_dict().items()}


def _turned(value: Any) -> Any:
    return value.mT.contiguous() if isinstance(value, Tensor) and value.ndim == 2 else value


def _plain(value: Any) -> Any:
    """Copy of nested containers, tensors on the CPU in the usual order of memory."""
    if isinstance(value, Tensor):
        return _cloned(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    return value


def _cloned(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
