"""Trials of candidates in a Lightning run: the data, noise, precision and clipping they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch import nn

from lightning_gvae.callbacks.beta_evolution.genes import check_genes
from lightning_gvae.callbacks.beta_evolution.measures import run_measures
from lightning_gvae.callbacks.beta_evolution.objective import check_conditions, check_objective
from lightning_gvae.callbacks.beta_evolution.plan import EvaluatorName
from lightning_gvae.callbacks.beta_evolution.trained_loss import conditioned_loss, probe_loss
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.lookahead import Clip, Trial, probe_noise
from lightning_gvae.evolution.model_copy import Noise
from lightning_gvae.interfaces import NamesOptimizer, offers
from lightning_gvae.rng import numpy_stream, stream_key
from lightning_gvae.training.batches import fetch
from lightning_gvae.training.items import Items, TrainedItems, batch_size_of

__all__ = ["TrialData", "check_run", "step_size"]


def check_run(
    trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[Gene], evaluator: EvaluatorName
) -> None:
    """Check that candidates can be scored in a run.

    Raises:
        ConfigError: the module lacks the buffer of a gene or has several optimisers and names none, the strategy may
            shard weights or the batch statistics are shared between ranks, nothing says what an overridden
            ``training_step`` trains on, the evaluator does not fit the model, or the loader does not say how large its
            batches are.
    """
    if len(trainer.optimizers) != 1 and not offers(pl_module, NamesOptimizer):
        raise ConfigError(
            f"BetaEvolution looks ahead with exactly one optimiser, the module has {len(trainer.optimizers)}; "
            "use it with a model of one optimiser, or one that names its `beta_optimizer` (vae_gan)"
        )
    strategy = trainer.strategy
    if isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
        raise ConfigError(
            f"BetaEvolution copies whole weights, `trainer.strategy` {type(strategy).__name__} may shard them; "
            "use 'ddp' or a single device"
        )
    if trainer.world_size > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in pl_module.modules()):
        raise ConfigError(
            "`trainer.sync_batchnorm` must be off with BetaEvolution: ranks look ahead with different candidates, "
            "their statistics do not belong together"
        )
    check_genes(trainer, pl_module, [gene.name for gene in genes])
    check_conditions(pl_module, genes, evaluator)
    if evaluator != "conditioned":
        check_objective(pl_module)
    batch_size_of(trainer.train_dataloader)


def step_size(trainer: L.Trainer) -> int:
    """Images that one rank puts into an optimiser step."""
    return batch_size_of(trainer.train_dataloader) * int(trainer.accumulate_grad_batches)


@dataclass(frozen=True)
class TrialData:
    """Draws the batches and the probe of a generation from the training set, the same on every rank.

    Positions are those that the training loader yields, as often as it yields them, see
    :class:`~lightning_gvae.training.items.TrainedItems`. They and the noise come from streams keyed by (seed, tag,
    generation, k), not from the run's sampler: its order is untouched. A look-ahead step has as many images as an
    optimiser step of one rank.

    Args:
        genes: Names of what a genome sets.
        seed: Seed of the run.
        tag: Name of the streams.
        steps: K, optimiser steps looked ahead.
        probe_size: Training images on which candidates are scored; fewer if training reads fewer.
        conditioned: Whether the network is scored as it is, in evaluation mode, and not as it is trained.
        measured: Names of what is measured of a candidate beside D and R.
    """

    genes: list[str]
    seed: int
    tag: str
    steps: int
    probe_size: int
    conditioned: bool = False
    measured: tuple[str, ...] = ()

    @cached_property
    def _items(self) -> TrainedItems:
        return TrainedItems(self.seed, self.tag)

    def items(self, trainer: L.Trainer) -> Items:
        """Items that the run's loader yields; every rank must call it."""
        return self._items.now(trainer)

    def probed(self, trainer: L.Trainer) -> int:
        """Images of a probe: as many as asked for, or as there are."""
        items = self.items(trainer)
        return self.probe_size if items.weights is not None else min(self.probe_size, len(items.positions))

    def trial(self, trainer: L.Trainer, pl_module: L.LightningModule, generation: int) -> Trial:
        """Trial with the probe but without training batches yet: enough to score the weights as they are."""
        noise = Noise(self.seed, self.tag, generation, pl_module.device)
        noise.reseed()  # a data set that augments may draw from the global generators
        positions = self._positions(trainer, "probe", self.probe_size, generation)
        # Twice a training batch: without gradients that takes no more memory than a training step.
        chunk = 2 * batch_size_of(trainer.train_dataloader)
        parts = [positions[start : start + chunk] for start in range(0, len(positions), chunk)]
        return Trial(
            probe_loss=conditioned_loss(trainer) if self.conditioned else probe_loss(trainer, pl_module, self.genes),
            steps=[],
            probe=[
                (self._batch(trainer, pl_module, part, generation, probe_noise(index)), len(part) / len(positions))
                for index, part in enumerate(parts)
            ],
            noise=noise,
            genes=self.genes,
            clip=Clip(trainer.gradient_clip_val, "value" if trainer.gradient_clip_algorithm == "value" else "norm"),
            measures=run_measures(trainer, pl_module, self.measured, self.conditioned),
        )

    def batches(self, trainer: L.Trainer, pl_module: L.LightningModule, generation: int, k: int) -> list[Any]:
        """Micro-batches of the k-th optimiser step looked ahead."""
        positions = self._positions(trainer, "batch", step_size(trainer), generation, k)
        parts = np.array_split(positions, min(trainer.accumulate_grad_batches, len(positions)))
        return [self._batch(trainer, pl_module, part, generation, k, number) for number, part in enumerate(parts)]

    def _positions(self, trainer: L.Trainer, what: str, count: int, *counters: int) -> np.ndarray:
        return self.items(trainer).draw(count, numpy_stream(self.seed, f"{self.tag}/{what}", *counters))

    def _batch(self, trainer: L.Trainer, pl_module: L.LightningModule, positions: np.ndarray, *counters: int) -> Any:
        """The way a batch of the loader takes to the module: key of its augmentation, precision, transfer, device."""
        loader: Any = trainer.train_dataloader
        batch = fetch(loader, positions)
        if getattr(loader, "keyed", False):
            batch = (*batch, stream_key(self.seed, f"{self.tag}/augment", *counters))
        batch = trainer.precision_plugin.convert_input(batch)
        return trainer.strategy.batch_to_device(batch, pl_module.device, dataloader_idx=0)
