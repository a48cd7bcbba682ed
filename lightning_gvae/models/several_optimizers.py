"""Mechanics of several optimisers in one training step, under manual optimisation."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.lightning_compat import one_optimizer_step
from lightning_gvae.models.base import BaseModel
from lightning_gvae.models.running_means import RunningMeans
from lightning_gvae.schedules import over_the_run, set_lengths

__all__ = ["MakeOptimizer", "SeveralOptimizers"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class SeveralOptimizers(BaseModel):
    """A module that trains several networks, one optimiser each, under manual optimisation.

    A batch counts as *one* optimiser step, whatever number of optimisers it moved: ``global_step``, ``max_steps``,
    checkpoint intervals, schedules and evolution mean batches, as for every other model of this package.

    Subclasses say which optimisers there are (:meth:`make_optimizers`) and write ``training_step``.
    """

    def _set_up_optimizers(self) -> None:
        self.automatic_optimization = False
        self._scalars = RunningMeans()
        self._scalar_names: tuple[str, ...] = ()
        self._make_scheduler: Callable[[Optimizer], Any] | None
        self._run_lengths: list[str] = []  # arguments of the learning-rate schedule that are the run's length

    def make_optimizers(self) -> list[Optimizer]:
        """An optimiser for each network."""
        raise NotImplementedError

    # What Lightning calls.

    def configure_callbacks(self) -> list[L.Callback]:
        """Refuse what Lightning cannot do for several optimisers, and say what to change; there are no callbacks.

        Raises:
            ConfigError: The trainer clips or accumulates gradients.
        """
        trainer = self.trainer
        wrong = {
            "gradient_clip_val": (trainer.gradient_clip_val, None),
            "accumulate_grad_batches": (trainer.accumulate_grad_batches, 1),
        }
        for name, (value, wanted) in wrong.items():
            if value != wanted and value != 0:
                raise ConfigError(
                    f"`trainer.{name}` must be {'null' if wanted is None else wanted} for {type(self).__name__}, which "
                    f"has an optimiser for each network, got {value}."
                )
        return []

    def setup(self, stage: str) -> None:
        """Refuse a strategy that cannot work.

        Raises:
            ConfigError: Weights are sharded, or the precision is refused.
        """
        super().setup(stage)
        strategy = self.trainer.strategy
        if stage == "fit" and isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
            raise ConfigError(
                f"{type(self).__name__} trains whole weights, `trainer.strategy` {type(strategy).__name__} may shard "
                "them; use ddp_find_unused_parameters_true or a single device."
            )

    def configure_optimizers(self) -> Any:
        """The optimisers, each with the learning-rate schedule if there is one."""
        optimizers = self.make_optimizers()
        if self._make_scheduler is None:
            return optimizers
        make_scheduler, self._run_lengths = over_the_run(self._make_scheduler)
        return optimizers, [make_scheduler(optimizer) for optimizer in optimizers]

    def on_train_start(self) -> None:
        """Tell schedules how long the run is."""
        super().on_train_start()
        end = float(self.trainer.estimated_stepping_batches)
        set_lengths((config.scheduler for config in self.trainer.lr_scheduler_configs), self._run_lengths, end)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the scalars not logged yet."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gvae_scalars"] = {"names": list(self._scalar_names), "means": self._scalars.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the scalars over."""
        super().on_load_checkpoint(checkpoint)
        if "gvae_scalars" in checkpoint:  # an exported model has none
            self._scalar_names = tuple(checkpoint["gvae_scalars"]["names"])
            self._scalars.load_state_dict(checkpoint["gvae_scalars"]["means"])

    # For the training steps of subclasses.

    @contextmanager
    def _one_step(self) -> Iterator[list[LightningOptimizer]]:
        """The optimisers, whose steps count as one; learning-rate schedules step at the end."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        with one_optimizer_step(optimizers):
            yield optimizers
            self._step_schedulers()

    def _step_schedulers(self) -> None:
        if self._make_scheduler is None:
            return
        schedulers: Any = self.lr_schedulers()
        with warnings.catch_warnings():
            # Schedules count batches; a side that waits from the first one on has rightly not stepped yet.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
                scheduler.step()

    def _descend(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """One step of an optimiser that is toggled, down a loss of its network's own forward pass."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _descend_together(self, steps: Sequence[tuple[LightningOptimizer, Tensor]]) -> None:
        """Steps of several optimisers, each down its loss, all by gradients at the same point, averaged over ranks."""
        parameters = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer, _ in steps]
        gradients: list[Tensor] = []
        for (_, loss), own in zip(steps, parameters, strict=True):
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                callback.on_before_backward(self.trainer, self, loss)
            gradients += torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True, materialize_grads=True)
        flat = self.trainer.strategy.reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
        wanted = [parameter for own in parameters for parameter in own]
        for parameter, part in zip(wanted, flat.split([p.numel() for p in wanted]), strict=True):
            parameter.grad = part.view_as(parameter)
        for optimizer, _ in steps:
            optimizer.step()

    def _collect(self, scalars: Mapping[str, Tensor]) -> None:
        """Keep scalars for the next log step; every time the same names in the same order."""
        if self.trainer.log_every_n_steps > 0:  # type: ignore[attr-defined]  # else nobody would ever ask for them
            self._scalar_names = tuple(scalars)
            self._scalars.add(*scalars.values())

    def _log_collected(self) -> None:
        # All at once to the host: Lightning would bring over, and later read, every scalar by itself.
        means = self.trainer.strategy.reduce(self._scalars.pop(), reduce_op="mean").cpu()
        named = zip(self._scalar_names, means, strict=True)
        self.log_dict({name if "/" in name else f"train/{name}": value for name, value in named})

    def _log_now(self) -> bool:
        """Whether the batch about to be trained on is one that the loggers write."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self.global_step + 1) % every == 0
