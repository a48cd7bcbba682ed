"""Networks between two checkpoints of one architecture."""

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.interfaces import TorchModule

__all__ = ["blend_states", "blended"]

Model = TypeVar("Model", bound=TorchModule)
Share = float | Mapping[str, float] | Callable[[str], float]


def blend_states(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: Share) -> dict[str, Tensor]:
    """Weights ``(1 - share) * first + share * second``, entry by entry.

    Two models fine-tuned from one parent blend smoothly; two that were trained apart do not line up neuron by neuron,
    and what lies between them is a divergence of its own.

    Args:
        first: ``state_dict`` of the first model.
        second: Of the second.
        share: Of the second: one number; or numbers by the beginning of the entries' names (the longest that fits
            counts, and others keep the first's weights), for example ``{"decoder.head": 1.0}`` swaps the last layer; or
            a function of the name. Below 0 and above 1 it extrapolates.

    Raises:
        CheckpointError: Names or shapes differ; the message says which.
        ConfigError: No entry begins as a key of ``share`` does, or a share is not finite.
    """
    if different := [
        f"{name} ({_shape(first, name)} and {_shape(second, name)})"
        for name in sorted({*first, *second})
        if _shape(first, name) != _shape(second, name)
    ]:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise CheckpointError(
            f"two networks of different shape cannot be blended: {', '.join(different[:3])}{more}; train both with the "
            "same model settings"
        )
    if isinstance(share, Mapping) and (unused := [key for key in share if not any(n.startswith(key) for n in first)]):
        raise ConfigError(f"`share` names {', '.join(unused)}, with which no weight of the network begins")
    blend = {}
    for name, ours in first.items():
        part = _share(share, name)
        if not -torch.inf < part < torch.inf:
            raise ConfigError(f"`share` must be finite, got {part!r} for {name}")
        # Counters and the like are no weights.
        blend[name] = torch.lerp(ours, second[name].to(ours), part) if ours.is_floating_point() else ours.clone()
    return blend


def blended(first: Model, second: TorchModule, share: Share) -> Model:
    """A new model, a copy of ``first`` with the weights of :func:`blend_states`; both models stay as they are.

    Raises:
        CheckpointError: As for :func:`blend_states`.
        ConfigError: As for :func:`blend_states`.
    """
    state = blend_states(first.state_dict(), second.state_dict(), share)
    model = copy.deepcopy(first)
    model.load_state_dict(state)
    return model


def _shape(state: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, state[name].shape)) or "scalar" if name in state else "missing"


def _share(share: Share, name: str) -> float:
    if isinstance(share, Mapping):
        fitting = [key for key in share if name.startswith(key)]
        return float(share[max(fitting, key=len)]) if fitting else 0.0
    return float(share(name)) if callable(share) else float(share)
