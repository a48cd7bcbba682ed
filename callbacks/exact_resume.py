"""Makes a resumed run equal to the uninterrupted one."""

import random
from typing import Any

import lightning as L
import numpy as np
import torch

from lightning_gvae.errors import CheckpointError

__all__ = ["ExactResume"]


class ExactResume(L.Callback):
    """Saves the global random states of every rank with each checkpoint and restores them when training goes on.

    Lightning's checkpoints hold weights, optimisers and loops, but no random state. The models and the evolution of
    this package draw from keyed streams and need none; layers such as dropout do. The states are restored as the last
    thing before the first batch, since set-up code may draw too. They are kept as tensors and lists of integers, so
    that ``weights_only=True`` can read them.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gather the random states; all ranks come here."""
        checkpoint["gvae_random"] = _gather(trainer, random_state())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep this rank's states until training starts.

        Raises:
            CheckpointError: The checkpoint was written with another number of ranks.
        """
        states = checkpoint.get("gvae_random")
        if states is None:
            return
        if len(states) != trainer.world_size:
            raise CheckpointError(
                f"the checkpoint was written by {len(states)} process(es) and this run has {trainer.world_size}; an "
                f"exact resume needs the same number: set trainer.devices={len(states)}, or drop "
                "callbacks.exact_resume to continue inexactly."
            )
        self._pending = states[trainer.global_rank]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the states."""
        if self._pending is not None:
            set_random_state(self._pending)
            self._pending = None


def random_state() -> dict[str, Any]:
    """Global states of Python, NumPy and torch (CPU and all CUDA devices) as plain containers and tensors."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  (the global one is the point)
    return {
        "python": list(random.getstate()[1]),
        "python_gauss": random.getstate()[2],
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "numpy_rest": [str(name), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of :func:`random_state`."""
    random.setstate((3, tuple(state["python"]), state["python_gauss"]))
    name, position, has_gauss, gauss = state["numpy_rest"]
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _gather(trainer: L.Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states
