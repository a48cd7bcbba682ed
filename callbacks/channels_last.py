"""Images and feature maps in memory with the channels innermost, which convolutions prefer on many machines."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

__all__ = ["ChannelsLast"]


class ChannelsLast(L.Callback):
    """Keeps the weights of convolutions in torch's ``channels_last`` layout; activations then follow by themselves.

    Faster with convolutions in bf16 on the CPU and with tensor cores on a GPU. Results differ by rounding. A checkpoint
    holds the same numbers under the same names, so runs can go on with and without it.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lay the weights out before a strategy looks at them."""
        pl_module.to(memory_format=torch.channels_last)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The same for networks that are built, or loaded, after ``setup``."""
        pl_module.to(memory_format=torch.channels_last)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lay the moments of a restored optimiser out as the weights: fused optimisers read both in order of memory."""
        for optimizer in trainer.optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if torch.is_tensor(value) and value.shape == parameter.shape and value.ndim == 4:
                        state[name] = value.contiguous(memory_format=torch.channels_last)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write weights and moments as any other run does."""
        checkpoint["state_dict"] = _plain(checkpoint["state_dict"])
        for states in checkpoint.get("optimizer_states", []):
            states["state"] = {number: _plain(state) for number, state in states["state"].items()}


def _plain(tensors: Mapping[Any, Any]) -> dict[Any, Any]:
    """A new dictionary, since the values still belong to the run."""
    return {name: value.contiguous() if torch.is_tensor(value) else value for name, value in tensors.items()}
