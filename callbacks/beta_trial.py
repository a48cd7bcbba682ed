"""What the candidates of a generation share in a Lightning run: training data, noise, precision, clipping."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from lightning_gvae.callbacks.batches import fetch, loader_size
from lightning_gvae.evolution.lookahead import Clip, Objective, Trial
from lightning_gvae.evolution.scratch import Noise
from lightning_gvae.rng import numpy_stream

__all__ = ["TrialData", "step_size"]


def step_size(trainer: L.Trainer) -> int:
    """Images that one rank puts into an optimiser step."""
    return int(trainer.train_dataloader.batch_size) * int(trainer.accumulate_grad_batches)  # type: ignore[union-attr]


@dataclass(frozen=True)
class TrialData:
    """Draws the batches and the probe of a generation from the training set, the same on every rank.

    Positions and noise come from streams keyed by (seed, tag, generation, k), not from the run's sampler: its order
    is untouched. A look-ahead step has as many images as an optimiser step of one rank.

    Args:
        genes: Names of the buffers that a genome sets.
        seed: Seed of the run.
        tag: Name of the streams.
        steps: K, optimiser steps looked ahead.
        probe_size: Training images on which candidates are scored.
    """

    genes: list[str]
    seed: int
    tag: str
    steps: int
    probe_size: int

    def probe(self, trainer: L.Trainer, pl_module: L.LightningModule, generation: int) -> Trial:
        """Trial without training batches, enough to score the weights as they are."""
        positions = self._positions(trainer, "probe", self.probe_size, generation)
        chunk = int(trainer.train_dataloader.batch_size)  # type: ignore[union-attr]
        parts = [positions[start : start + chunk] for start in range(0, len(positions), chunk)]
        return Trial(
            objective=_objective(trainer),
            steps=[],
            probe=[(_batch(trainer, pl_module, part), len(part) / len(positions)) for part in parts],
            noise=Noise(self.seed, self.tag, generation, pl_module.device),
            genes=self.genes,
            clip=Clip(trainer.gradient_clip_val, str(trainer.gradient_clip_algorithm or "norm")),
        )

    def batches(self, trainer: L.Trainer, pl_module: L.LightningModule, generation: int, k: int) -> list[Any]:
        """Micro-batches of the k-th optimiser step looked ahead."""
        positions = self._positions(trainer, "batch", step_size(trainer), generation, k)
        parts = np.array_split(positions, trainer.accumulate_grad_batches)
        return [_batch(trainer, pl_module, part) for part in parts]

    def _positions(self, trainer: L.Trainer, what: str, count: int, *counters: int) -> np.ndarray:
        size = loader_size(trainer.train_dataloader)
        stream = numpy_stream(self.seed, f"{self.tag}/{what}", *counters)
        return stream.choice(size, size=min(count, size), replace=False)


def _batch(trainer: L.Trainer, pl_module: L.LightningModule, positions: np.ndarray) -> Any:
    """The way a batch of the loader takes to the module: precision, transfer hooks, device."""
    batch = trainer.precision_plugin.convert_input(fetch(trainer.train_dataloader, positions))
    return trainer.strategy.batch_to_device(batch, pl_module.device, dataloader_idx=0)


def _objective(trainer: L.Trainer) -> Objective:
    context = _context(trainer)

    def objective(module: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        # Left again after every forward pass: autocast caches converted weights until then, and ours are about to move.
        with context():
            terms = module.elbo_terms(module.prepare(batch), generator=generator)  # type: ignore[operator]
            return module.loss(terms), terms.recon, terms.kl  # type: ignore[operator]

    return objective


def _context(trainer: L.Trainer) -> Callable[[], AbstractContextManager]:
    plugin = trainer.precision_plugin
    if getattr(plugin, "scaler", None) is not None:
        # fp16 gradients underflow without a scaler, and the run's scaler must not see ours: look ahead in fp32.
        return nullcontext
    return plugin.train_step_context
