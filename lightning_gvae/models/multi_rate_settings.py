"""Checks of the settings of a multi-rate VAE."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_gvae.errors import ConfigError, checked_choice, checked_count, checked_number
from lightning_gvae.nets.rate_gates import GATES

__all__ = ["check_settings", "checked_groups"]


def check_settings(
    beta_range: Sequence[float], draws: int | None, normalisation: float, gate: str, others: Mapping[str, Any]
) -> None:
    """Check the settings of :class:`~lightning_gvae.models.multi_rate.MultiRateVAE`.

    Args:
        beta_range: Lowest and highest KL weight.
        draws: Weights drawn a step, or None.
        normalisation: Exponent, in [0, 1].
        gate: One of :data:`~lightning_gvae.nets.rate_gates.GATES`.
        others: Settings of the model that it is a variant of.

    Raises:
        ConfigError: One is out of range, or is about a single KL weight.
    """
    if len(beta_range) != 2 or not 0 < beta_range[0] < beta_range[1] < math.inf:
        raise ConfigError(f"`beta_range` must be two KL weights, 0 < lowest < highest, got {beta_range}")
    if draws is not None:
        checked_count("draws_per_batch", draws)
    checked_number("normalisation", normalisation, lambda v: 0 <= v <= 1, "must lie in [0, 1]")
    checked_choice("gate", gate, GATES)
    if others.get("schedule") is not None:
        raise ConfigError(
            "`schedule` must be left out: a multi-rate VAE is trained on all KL weights, `beta` is the one it is used "
            "at; to change that while it trains add callbacks/beta_evolution=conditioned"
        )
    if others.get("free_bits"):
        raise ConfigError(f"`free_bits` must be 0 for a multi-rate VAE, got {others['free_bits']}")


def checked_groups(groups: Sequence[int] | None, latent_dim: int, factorises: bool) -> tuple[int, ...]:
    """Sizes of the groups of latents; None is one group.

    Args:
        groups: Sizes, in order.
        latent_dim: What they must add up to.
        factorises: Whether the KL is a sum over the latents.

    Raises:
        ConfigError: They do not add up, or the KL has no parts.
    """
    if groups is None:
        return (latent_dim,)
    sizes = tuple(checked_count("latent_groups", size) for size in groups)
    if sum(sizes) != latent_dim:
        raise ConfigError(
            f"`latent_groups` must add up to `latent_dim` {latent_dim}, got {list(sizes)}, together {sum(sizes)}"
        )
    if len(sizes) > 1 and not factorises:
        raise ConfigError("`latent_groups` need a KL for each latent, which only `prior=normal` has; leave one out")
    return sizes
