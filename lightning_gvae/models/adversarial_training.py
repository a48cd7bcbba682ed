"""Base of GAN and VAE-GAN: the discriminator, and the mechanics of several optimisers in one step."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.io.network_choice import former_facts
from lightning_gvae.io.settings import differences
from lightning_gvae.lightning_compat import finds_unused_parameters
from lightning_gvae.losses.adversarial import Game, Gates
from lightning_gvae.models.adversary import Adversary
from lightning_gvae.models.several_optimizers import MakeOptimizer, SeveralOptimizers
from lightning_gvae.nets.discriminator import Discriminator, build_discriminator, discriminator_settings
from lightning_gvae.rng import torch_stream

__all__ = ["AdversarialTraining", "check_identity", "probability"]


class AdversarialTraining(SeveralOptimizers):
    """A module that trains several networks against each other, one optimiser each, under manual optimisation.

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
        self._set_up_optimizers()
        self.adversary, self.game = adversary, adversary.game
        settings = discriminator_settings(adversary.discriminator, image_shape)
        self.discriminator = build_discriminator(settings, image_shape, adversary.norm, recon_layer)
        self.discriminator_name = f"{settings.label()}/{adversary.norm}/{self.discriminator.recon_layer}"
        self._make_optimizer: MakeOptimizer | None

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

    def make_optimizers(self) -> list[Optimizer]:
        """An optimiser for each network, the discriminator's with ``lr_ratio`` times the learning rate."""
        make = self._make_optimizer or (lambda group: torch.optim.Adam(group, lr=5e-4, betas=(0.5, 0.999), fused=True))
        optimizers = [make(parameters) for parameters in self.networks().values()]
        for group in optimizers[-1].param_groups:
            group["lr"] *= self.adversary.lr_ratio
        return optimizers

    # For the training steps of subclasses.

    def _instance_noise(self, *counters: int) -> torch.Generator:
        return torch_stream(self.seed, "instance-noise", *counters, self.global_rank, device=self.device)

    def _gates(self, costs: Tensor) -> Gates:
        """Permissions to step; the same on every rank."""
        if self.game.margin is None:
            return Gates(True, True)
        # Ranks that decided by their own costs would part ways without a word.
        return self.game.gates(self.trainer.strategy.reduce(costs.detach().clone(), reduce_op="mean"))


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
