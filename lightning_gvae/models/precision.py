"""Precisions that models train in, and optimisers that work in them."""

import functools
from collections.abc import Callable, Iterable

import lightning as L
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gvae.errors import ConfigError
from lightning_gvae.models.image_batch import PIXELS, PixelRange

__all__ = ["ChecksPrecision", "MakeOptimizer", "check_precision", "clippable"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]

REFUSED = ("64-true", "bf16-true", "16-true")


def check_precision(precision: str) -> None:
    """Refuse a precision that models cannot be trained in: batches, latents and losses are fp32, so weights must be.

    Raises:
        ConfigError: Weights would have another type than fp32.
    """
    if precision in REFUSED:
        raise ConfigError(
            f"`trainer.precision` must be 32-true, bf16-mixed or 16-mixed, got {precision}: images, latents and "
            "losses are "
            "fp32, and weights of another type cannot be multiplied with them."
        )


class ChecksPrecision(L.LightningModule):
    """A module that refuses a precision which it cannot be trained in, before training starts.

    It also refuses pixels that it cannot be trained on, at the first batch of training and of evaluation: see
    :meth:`checked`.
    """

    clips_in: str | None = None  # mixed precision in which gradients are clipped, for which no optimiser may be fused
    pixel_range: PixelRange = PIXELS

    def __init__(self) -> None:
        super().__init__()
        self._range_known: set[bool] = set()  # whether in training; a look at every batch would cost a synchronisation

    def checked(self, images: Tensor) -> Tensor:
        """``images``, looked at if they are of the first batch.

        Raises:
            ConfigError: They are outside ``pixel_range``.
        """
        if self.training not in self._range_known:
            self.pixel_range.check(images)
            self._range_known.add(self.training)
        return images

    def setup(self, stage: str) -> None:
        """Check the precision of the Trainer, and forget which batches have been looked at.

        Raises:
            ConfigError: See :func:`check_precision`.
        """
        self._range_known.clear()
        trainer = self.trainer
        check_precision(str(trainer.precision))
        if trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision):
            self.clips_in = str(trainer.precision)


def clippable(make: MakeOptimizer, precision: str) -> MakeOptimizer:
    """Optimiser factory whose gradients can be clipped: Lightning refuses to clip for fused ones in mixed precision.

    Args:
        make: The factory; ``fused`` is switched off if it is a ``functools.partial``, as those of configurations are.
        precision: The trainer's, for the messages.

    Raises:
        ConfigError: (when the factory is called) it makes a fused optimiser all the same.
    """
    if isinstance(make, functools.partial) and make.keywords.get("fused"):
        rank_zero_info(
            f"The optimiser is not fused: `trainer.gradient_clip_val` with `trainer.precision` {precision} allows none."
        )
        make = functools.partial(make.func, *make.args, **{**make.keywords, "fused": False})

    def checked(parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer = make(parameters)
        if any(group.get("fused") for group in optimizer.param_groups):
            raise ConfigError(
                f"`trainer.gradient_clip_val` cannot clip in `trainer.precision` {precision} for a fused "
                "optimiser; give "
                "the model an optimiser with fused=False."
            )
        return optimizer

    return checked
