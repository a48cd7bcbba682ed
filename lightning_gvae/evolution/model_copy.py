"""A throw-away copy of a module and its optimiser, and the care that nothing outside the copy changes."""

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.rng import stream_key, torch_stream

__all__ = ["ModelCopy", "Noise", "preserved_rng"]


class ModelCopy:
    """Copies of a module and its optimisers to train and throw away; the originals are only read.

    All are copied in one go, so the copied optimisers hold the copied parameters. One copy serves many candidates:
    :meth:`restore` takes it back to where the originals stand, tensor by tensor, without allocating it anew.

    Args:
        module: Module in the mode (train or eval, submodule by submodule) that the copy shall have.
        optimizers: One or more torch optimisers over parameters of ``module``; they step together.
    """

    def __init__(self, module: nn.Module, *optimizers: Optimizer) -> None:
        self._live_module, self._live_optimizers = module, optimizers
        self.module, self.optimizers = copy.deepcopy((module, optimizers))
        self.zero_grad()

    @property
    def optimizer(self) -> Optimizer:
        """The first of the copied optimisers."""
        return self.optimizers[0]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Copied parameters that the optimisers update."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        return [p for group in groups for p in group["params"] if p.requires_grad]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step of every optimiser."""
        for optimizer in self.optimizers:
            optimizer.step()

    @torch.no_grad()
    def restore(self) -> None:
        """Take weights, buffers, optimiser state and settings back to those of the originals; drop gradients."""
        _copy_all(dict(self._live_module.named_parameters()), dict(self.module.named_parameters()))
        _copy_all(dict(self._live_module.named_buffers()), dict(self.module.named_buffers()))
        for live, mine in zip(self._live_optimizers, self.optimizers, strict=True):
            _restore_optimizer(live, mine)
        self.zero_grad()


def _restore_optimizer(live: Optimizer, mine: Optimizer) -> None:
    for theirs, own in zip(live.param_groups, mine.param_groups, strict=True):
        for key, value in theirs.items():
            if key != "params":
                own[key] = value.clone() if isinstance(value, Tensor) else value
        for parameter, copied in zip(theirs["params"], own["params"], strict=True):
            # .get: indexing would create an entry in the live optimiser, whose state is a defaultdict.
            _restore_state(live.state.get(parameter, {}), mine, copied)


def _restore_state(wanted: dict[str, Any], optimizer: Optimizer, parameter: Tensor) -> None:
    present = optimizer.state.pop(parameter, {})
    restored = {}
    for key, value in wanted.items():
        old = present.get(key)
        if isinstance(value, Tensor) and isinstance(old, Tensor) and old.shape == value.shape:
            restored[key] = old.copy_(value)
        else:
            restored[key] = value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
    if restored:
        optimizer.state[parameter] = restored


@dataclass(frozen=True)
class Noise:
    """Random numbers common to all candidates of a generation.

    Args:
        seed: Seed of the run.
        tag: Name of the stream.
        generation: Generation counter.
        device: Where the generators live.
    """

    seed: int
    tag: str
    generation: int
    device: torch.device

    def generator(self, k: int) -> torch.Generator:
        """Generator of the k-th forward pass, the same for every candidate."""
        return torch_stream(self.seed, f"{self.tag}/noise", self.generation, k, device=self.device)

    def reseed(self) -> None:
        """Set the global generators, for layers (dropout) and data sets that know no other.

        Only inside :func:`preserved_rng`.
        """
        key = stream_key(self.seed, f"{self.tag}/global", self.generation) & (2**63 - 1)
        random.seed(key)
        np.random.seed(key % 2**32)  # noqa: NPY002
        torch.default_generator.manual_seed(key)
        if self.device.type != "cpu":
            torch.get_device_module(self.device.type).manual_seed(key)


@contextmanager
def preserved_rng(device: torch.device) -> Iterator[None]:
    """Give the global generators (Python, NumPy, torch on the CPU and on ``device``) back as they were."""
    accelerator = None if device.type == "cpu" else torch.get_device_module(device.type)
    where: Sequence[torch.device] = (device,) if device.type == "cuda" else ()
    python_state, numpy_state, cpu_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    state = None if accelerator is None else accelerator.get_rng_state(*where)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(cpu_state)
        if accelerator is not None:
            accelerator.set_rng_state(state, *where)


def _copy_all(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name in source.keys() & target.keys():
        target[name].copy_(source[name])
