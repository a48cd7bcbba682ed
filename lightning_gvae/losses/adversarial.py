r"""Losses of the game between a generator and a discriminator, and the rule that says who may move.

A discriminator gives logits :math:`l`, with :math:`D(x) = \sigma(l)` the probability that ``x`` is real. Everything is
in nats, averaged over the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gvae.errors import ConfigError

__all__ = [
    "GENERATOR_LOSSES",
    "Game",
    "Gates",
    "discriminator_loss",
    "equilibrium_gates",
    "fake_cost",
    "feature_nll",
    "generator_loss",
    "real_cost",
]

GENERATOR_LOSSES = ("non_saturating", "minimax")


class Gates(NamedTuple):
    """Permissions of the two sides to take a step.

    Attributes:
        discriminator: Whether the discriminator does.
        decoder: Whether the decoder (generator) does.
    """

    discriminator: bool
    decoder: bool


def real_cost(logits: Tensor) -> Tensor:
    r"""Cost of taking real images ``(B,)`` for fakes, :math:`-\log D(x)`, mean over the batch; ln 2 at D = 1/2."""
    return F.softplus(-logits).mean()


def fake_cost(logits: Tensor) -> Tensor:
    r"""Cost of taking fakes ``(B,)`` for real, :math:`-\log(1 - D(\tilde x))`, mean over the batch."""
    return F.softplus(logits).mean()


def discriminator_loss(
    real: Tensor, fakes: Sequence[Tensor], real_weight: float | None = 0.5, label_smoothing: float = 0.0
) -> Tensor:
    r"""Loss of the discriminator: the weighted costs of real images and of every kind of fake.

    .. math:: -w \log D(x) - \frac{1-w}{K} \sum_{k=1}^K \log(1 - D(\tilde x_k))

    Args:
        real: Logits of real images, ``(B,)``.
        fakes: Logits of K kinds of fakes (reconstructions, samples), ``(B,)`` each, at least one kind.
        real_weight: w, in (0, 1); the fakes share the rest. ``None`` gives every term the weight 1.
        label_smoothing: s, in [0, 1/2): real images count as real with probability 1 - s only (one-sided).

    References:
        Larsen, Soenderby, Larochelle and Winther, Autoencoding beyond Pixels Using a Learned Similarity Metric, 2016,
        eq. 6 (``real_weight=None``), and their code (0.5). Salimans et al., Improved Techniques for Training GANs, 2016
        (one-sided label smoothing).
    """
    smoothed = (1 - label_smoothing) * real_cost(real) + label_smoothing * fake_cost(real)
    costs = torch.stack([fake_cost(logits) for logits in fakes])
    if real_weight is None:
        return smoothed + costs.sum()
    return real_weight * smoothed + (1 - real_weight) * costs.mean()


def generator_loss(fakes: Sequence[Tensor], kind: str = "non_saturating", total: bool = False) -> Tensor:
    r"""Loss of the generator over K kinds of fakes.

    ``non_saturating``: :math:`-\log D(\tilde x)`, whose gradient is strongest where the discriminator is not fooled;
    ``minimax``: :math:`\log(1 - D(\tilde x))`, the negative of the discriminator's cost, which vanishes there.

    Args:
        fakes: Logits of each kind of fake, ``(B,)`` each, at least one kind.
        kind: ``non_saturating`` or ``minimax``.
        total: Sum over the kinds, as in the paper, instead of their mean.

    References:
        Goodfellow et al., Generative Adversarial Nets, 2014, section 3.
    """
    costs = torch.stack([-fake_cost(logits) if kind == "minimax" else real_cost(logits) for logits in fakes])
    return costs.sum() if total else costs.mean()


def feature_nll(features: Tensor, target: Tensor) -> Tensor:
    r"""Larsen's reconstruction term :math:`L_\mathrm{llike}`: distance of two images in a discriminator's features.

    .. math:: \tfrac12 \|D_l(\tilde x) - D_l(x)\|^2 = -\log N(D_l(x);\, D_l(\tilde x), I) + \mathrm{const}

    Args:
        features: Of the reconstructions, ``(B, ...)``.
        target: Of the images, same shape.

    Returns:
        Nats but for the constant, summed over features, mean over the batch. Scalar.

    References:
        Larsen et al., 2016, eq. 7-8.
    """
    return 0.5 * (features - target).square().flatten(1).sum(1).mean()


def equilibrium_gates(cost_real: float, cost_fake: float, equilibrium: float, margin: float) -> Gates:
    """Permissions to step by which neither side runs away: a side that is far ahead waits.

    The discriminator waits while one of its costs is below ``equilibrium - margin``, the decoder while one is above
    ``equilibrium + margin``. If both would wait, both step.

    Args:
        cost_real: Mean cost of the real images, nats.
        cost_fake: Mean cost of the fakes, nats.
        equilibrium: Cost of a discriminator that cannot tell: ln 2; 0.68 in Larsen's code.
        margin: Half width of the band, nats, at least 0; 0.35 or 0.4 in Larsen's code.

    >>> equilibrium_gates(0.1, 0.7, equilibrium=0.68, margin=0.4)
    Gates(discriminator=False, decoder=True)
    >>> equilibrium_gates(0.1, 2.0, equilibrium=0.68, margin=0.4)
    Gates(discriminator=True, decoder=True)
    """
    ahead = min(cost_real, cost_fake) < equilibrium - margin
    behind = max(cost_real, cost_fake) > equilibrium + margin
    if ahead and behind:
        return Gates(True, True)
    return Gates(not ahead, not behind)


@dataclass(frozen=True)
class Game:
    """The rules of one game: which losses, which weights, and whether a side that is ahead waits.

    Args:
        loss: ``non_saturating`` or ``minimax``.
        real_weight: See :func:`discriminator_loss`.
        label_smoothing: See :func:`discriminator_loss`.
        equilibrium: See :func:`equilibrium_gates`.
        margin: Half width of its band, nats; ``None``: both sides always step.

    Raises:
        ConfigError: A value is out of its range.
    """

    loss: str = "non_saturating"
    real_weight: float | None = 0.5
    label_smoothing: float = 0.0
    equilibrium: float = 0.68
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.loss not in GENERATOR_LOSSES:
            raise ConfigError(f"`adversary.loss` must be one of {', '.join(GENERATOR_LOSSES)}, got {self.loss!r}.")
        if self.real_weight is not None and not 0 < self.real_weight < 1:
            raise ConfigError(
                f"`adversary.real_weight` must lie between 0 and 1, or be null to give every term the weight 1, got "
                f"{self.real_weight}."
            )
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(
                f"`adversary.label_smoothing` must be at least 0 and below 0.5, got {self.label_smoothing}."
            )
        if not 0 < self.equilibrium < float("inf"):
            raise ConfigError(
                f"`adversary.equilibrium` must be a positive cost in nats (ln 2 = 0.69), got {self.equilibrium}."
            )
        if self.margin is not None and not 0 <= self.margin < float("inf"):
            raise ConfigError(f"`adversary.margin` must be 0 or more nats, or null for no gating, got {self.margin}.")

    def discriminator(self, real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
        """Loss of the discriminator. Scalar, nats."""
        return discriminator_loss(real, fakes, self.real_weight, self.label_smoothing)

    def generator(self, fakes: Sequence[Tensor]) -> Tensor:
        """Loss of the generator. Scalar, nats."""
        return generator_loss(fakes, self.loss, total=self.real_weight is None)

    def costs(self, real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
        """Costs that the gates look at: of real images and, mean over their kinds, of fakes, ``(2,)``."""
        return torch.stack([real_cost(real), torch.stack([fake_cost(logits) for logits in fakes]).mean()])

    def gates(self, costs: Tensor) -> Gates:
        """Permissions to step, given :meth:`costs` averaged over the ranks."""
        if self.margin is None:
            return Gates(True, True)
        real, fake = costs.tolist()
        return equilibrium_gates(real, fake, self.equilibrium, self.margin)
