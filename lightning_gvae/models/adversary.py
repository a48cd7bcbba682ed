"""Settings of the adversary of GAN and VAE-GAN: the discriminator, the rules of the game, and the order of steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning_gvae.errors import ConfigError, checked_choice, checked_number
from lightning_gvae.io.network_choice import plain_choice
from lightning_gvae.losses.adversarial import Game

__all__ = ["Adversary", "UpdateOrder", "VAEGANAdversary"]

UpdateOrder = Literal["sequential", "larsen_simultaneous"]


@dataclass(frozen=True)
class Adversary:
    """Discriminator, and how it is played against.

    Args:
        discriminator: ``conv``, ``resnet``, ``mlp`` or ``auto``, see
            :func:`~lightning_gvae.nets.discriminator.build_discriminator`; or a mapping of that ``name`` and of sizes,
            see :class:`~lightning_gvae.nets.settings.NetworkSettings`. For one of your own assign
            ``model.discriminator`` before the fit.
        norm: Of the discriminator, ``spectral``, ``group`` or ``none``.
        loss: The generator's, ``non_saturating`` or ``minimax``.
        real_weight: Weight of the real images, in (0, 1), the fakes share the rest; ``None`` gives every term the
            weight 1.
        label_smoothing: Real images count as real with probability 1 minus this only.
        instance_noise: Standard deviation of noise on all images that the discriminator sees in training, in units of
            the image range; 0 is none.
        equilibrium: Cost of a discriminator that cannot tell, nats.
        margin: Half width of the band around it out of which a side waits; ``None``: both always step.
        lr_ratio: Learning rate of the discriminator in units of the others' (two time-scales).
        update_order: ``sequential`` or ``larsen_simultaneous``, see
            :class:`~lightning_gvae.models.adversarial_training.AdversarialTraining`.

    Raises:
        ConfigError: A value is out of its range.
    """

    discriminator: str | Mapping[str, Any] = "auto"
    norm: str = "spectral"
    loss: str = "non_saturating"
    real_weight: float | None = 0.5
    label_smoothing: float = 0.0
    instance_noise: float = 0.0
    equilibrium: float = 0.68
    margin: float | None = None
    lr_ratio: float = 1.0
    update_order: UpdateOrder = "sequential"

    def __post_init__(self) -> None:
        object.__setattr__(self, "discriminator", plain_choice(self.discriminator))
        checked_number(
            "adversary.instance_noise",
            self.instance_noise,
            lambda v: 0 <= v < float("inf"),
            "must be 0 or more, in units of the image range",
        )
        checked_number(
            "adversary.lr_ratio",
            self.lr_ratio,
            lambda v: 0 < v < float("inf"),
            "must be a positive number (1 is the same learning rate)",
        )
        checked_choice("adversary.update_order", self.update_order, get_args(UpdateOrder))
        _ = self.game  # checks the rest

    @property
    def game(self) -> Game:
        """Rules of the game."""
        return Game(self.loss, self.real_weight, self.label_smoothing, self.equilibrium, self.margin)


@dataclass(frozen=True)
class VAEGANAdversary(Adversary):
    """Adversary of a VAE-GAN, which also gives the features that images are compared by.

    Args:
        recon_layer: l, layer of the discriminator whose features are compared, from 1; ``None`` is the preset's.
        discriminate_recon: Whether reconstructions count as fakes.
        discriminate_prior: Whether samples from the prior count as fakes.

    Raises:
        ConfigError: A value is out of its range, or there are no fakes.
    """

    recon_layer: int | None = None
    discriminate_recon: bool = True
    discriminate_prior: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.discriminate_recon or self.discriminate_prior):
            raise ConfigError(
                "`adversary.discriminate_recon` and `adversary.discriminate_prior` are both off: the discriminator has "
                "no fakes."
            )
