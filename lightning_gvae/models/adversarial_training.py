"""Base of GAN and VAE-GAN: the discriminator, and the mechanics of several optimisers in one step."""

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

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.io.network_choice import former_facts
from lightning_gvae.io.settings import differences
from lightning_gvae.lightning_compat import finds_unused_parameters, one_optimizer_step
from lightning_gvae.losses.adversarial import Game, Gates
from lightning_gvae.models.adversary import Adversary
from lightning_gvae.models.base import BaseModel
from lightning_gvae.models.running_means import RunningMeans
from lightning_gvae.nets.discriminator import Discriminator, build_discriminator, discriminator_settings
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import over_the_run, set_lengths

__all__ = ["AdversarialTraining", "check_identity", "probability"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class AdversarialTraining(BaseModel):
    """A module that trains several networks against each other, one optimiser each, under manual optimisation.

    A batch counts as *one* optimiser step, whatever number of optimisers it moved: ``global_step``, ``max_steps``,
    checkpoint intervals, schedules and evolution mean batches, as for every other model of this package.

    ``sequential`` (the default) moves one network after the other, each by a forward pass of its own; under DDP it
    needs the strategy ``ddp_find_unused_parameters_true``. ``larsen_simultaneous`` moves all of them by the gradients
    at the same point, from one forward pass, and averages the gradients over the ranks itself; it cannot scale fp16
    losses.

    Subclasses say which parameters each optimiser moves (:meth:`networks`) and write ``training_step``.
    """

    adversary: Adversary
    discriminator: Discriminator
    game: Game
    seed: int

    def _set_up_game(self, image_shape: Sequence[int], adversary: Adversary, recon_layer: int | None = None) -> None:
        self.automatic_optimization = False
        self.adversary, self.game = adversary, adversary.game
        settings = discriminator_settings(adversary.discriminator, image_shape)
        self.discriminator = build_discriminator(settings, image_shape, adversary.norm, recon_layer)
        self.discriminator_name = f"{settings.label()}/{adversary.norm}/{self.discriminator.recon_layer}"
        self._scalars = RunningMeans()
        self._scalar_names: tuple[str, ...] = ()
        self._make_optimizer: MakeOptimizer | None
        self._make_scheduler: Callable[[Optimizer], Any] | None
        self._run_lengths: list[str] = []  # arguments of the learning-rate schedule that are the run's length

    def networks(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by network, one optimiser each, the discriminator last."""
        raise NotImplementedError

    def judge(self, images: Tensor, noise: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Features ``D_l`` and logits ``(B,)``; with ``noise`` the discriminator sees the images through its noise."""
        if noise is not None and self.adversary.instance_noise > 0:
            drawn = torch.randn(images.shape, dtype=images.dtype, device=images.device, generator=noise)
            images = images + self.adversary.instance_noise * drawn
        return self.discriminator.features(images)

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
            ConfigError: Weights are sharded, DDP would wait for unused parameters, fp16 losses need scaling, or the
                precision is refused.
        """
        super().setup(stage)
        if stage != "fit":
            return
        strategy = self.trainer.strategy
        if isinstance(strategy, ParallelStrategy) and not isinstance(strategy, DDPStrategy):
            raise ConfigError(
                f"{type(self).__name__} trains whole weights, `trainer.strategy` {type(strategy).__name__} may shard "
                "them; use ddp_find_unused_parameters_true or a single device."
            )
        if self.adversary.update_order == "sequential":
            if isinstance(strategy, DDPStrategy) and not finds_unused_parameters(strategy):
                raise ConfigError(
                    f"{type(self).__name__} has several backward passes a step, for which plain DDP waits in vain; set "
                    "trainer.strategy=ddp_find_unused_parameters_true, or "
                    "model.adversary.update_order=larsen_simultaneous."
                )
        elif getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ConfigError(
                "`adversary.update_order=larsen_simultaneous` cannot scale fp16 losses; use "
                "trainer.precision=bf16-mixed or "
                "32-true, or adversary.update_order=sequential."
            )

    def configure_optimizers(self) -> Any:
        """An optimiser for each network, the discriminator's with ``lr_ratio`` times the learning rate."""
        make = self._make_optimizer or (lambda group: torch.optim.Adam(group, lr=5e-4, betas=(0.5, 0.999), fused=True))
        optimizers = [make(parameters) for parameters in self.networks().values()]
        for group in optimizers[-1].param_groups:
            group["lr"] *= self.adversary.lr_ratio
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
            self._scalars.load_state_dict(checkpoint["gvae_scalars"]["means"], self.device)

    # For the training steps of subclasses.

    def _instance_noise(self, *counters: int) -> torch.Generator:
        return torch_stream(self.seed, "instance-noise", *counters, self.global_rank, device=self.device)

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

    def _gates(self, costs: Tensor) -> Gates:
        """Permissions to step; the same on every rank."""
        if self.game.margin is None:
            return Gates(True, True)
        # Ranks that decided by their own costs would part ways without a word.
        return self.game.gates(self.trainer.strategy.reduce(costs.detach().clone(), reduce_op="mean"))

    def _collect(self, scalars: Mapping[str, Tensor]) -> None:
        """Keep scalars for the next log step; every time the same names in the same order."""
        if self.trainer.log_every_n_steps > 0:  # type: ignore[attr-defined]  # else nobody would ever ask for them
            self._scalar_names = tuple(scalars)
            self._scalars.add(*scalars.values())

    def _log_collected(self) -> None:
        means = self.trainer.strategy.reduce(self._scalars.pop(), reduce_op="mean")
        named = zip(self._scalar_names, means, strict=True)
        self.log_dict({name if "/" in name else f"train/{name}": value for name, value in named})

    def _log_now(self) -> bool:
        """Whether the batch about to be trained on is one that the loggers write."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self.global_step + 1) % every == 0


def probability(logits: Tensor) -> Tensor:
    """Mean probability that images are real, as the discriminator sees it. Scalar."""
    return torch.sigmoid(logits.detach()).mean()


def check_identity(own: dict[str, Any], stored: dict[str, Any] | None) -> None:
    """Compare what identifies a model with what a checkpoint says.

    Raises:
        CheckpointError: They differ, or the checkpoint says nothing.
    """
    if stored is None:
        raise CheckpointError("the checkpoint was not written by a model of this package: `gvae_model` is missing.")
    facts = former_facts(stored)
    if changed := differences({name: facts.get(name) for name in own}, own):
        raise CheckpointError(
            f"the checkpoint belongs to another model ({'; '.join(changed)}); choose the model and data that "
            "it was trained with, or start without `ckpt_path`."
        )
