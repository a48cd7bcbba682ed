"""Operations on latents alone: fewer or more extreme ones, directions, analogies and paths."""

import math

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.rng import torch_stream

__all__ = ["amplified", "analogy", "direction", "path", "truncated_normal"]


def truncated_normal(
    count: int, dims: int, bound: float, seed: int = 0, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal latents of which no component lies beyond ``bound``; those are drawn anew.

    A small bound gives typical samples and few kinds of them, ``inf`` the prior itself. Draws go through the inverse
    distribution function, so that the same seed moves every sample continuously with the bound.

    Args:
        count: N.
        dims: Z.
        bound: Largest absolute value, above 0, in standard deviations.
        seed: Of the stream.
        device: Where the result lies; drawn on the CPU.

    Returns:
        ``(N, Z)``.

    Raises:
        ConfigError: ``bound`` is not above 0, or a count is below 1.

    References:
        Brock, Donahue and Simonyan, Large scale GAN training for high fidelity natural image synthesis, 2019
        (truncation trick).
    """
    if not bound > 0:
        raise ConfigError(f"`bound` must be above 0 standard deviations, got {bound!r}")
    shape = (checked_count("count", count), checked_count("dims", dims))
    uniform = torch.rand(shape, generator=torch_stream(seed, "divergence/truncated"), dtype=torch.float64)
    inside = math.erf(bound / math.sqrt(2))
    # From the middle of the distribution outwards; the tails are cut off exactly.
    latents = torch.erfinv((2 * uniform - 1) * inside).mul(math.sqrt(2)).clamp(-bound, bound)
    return latents.float().to(device)


def amplified(latents: Tensor, factor: float, centre: Tensor | None = None) -> Tensor:
    """Latents moved away from a centre (factor above 1) or towards it (below 1): ``c + factor * (z - c)``.

    Args:
        latents: ``(N, Z)``.
        factor: 0 or more; 1 changes nothing, 0 leaves the centre alone.
        centre: ``(Z,)``; None is 0, the prior's mean.

    Raises:
        ConfigError: ``factor`` is negative or not finite.
    """
    if not 0 <= factor < math.inf:
        raise ConfigError(f"`factor` must be 0 or more, got {factor!r}")
    return latents * factor if centre is None else centre + factor * (latents - centre)


def direction(without: Tensor, with_: Tensor) -> Tensor:
    """Mean difference ``(Z,)`` between latents of images without and with an attribute.

    Args:
        without: ``(N, Z)``.
        with_: ``(M, Z)``.

    Raises:
        ConfigError: A set is empty, or the two have different dimensions.

    References:
        Larsen, Sønderby, Larochelle and Winther, Autoencoding beyond pixels using a learned similarity metric, 2016.
    """
    if without.ndim != 2 or with_.ndim != 2 or without.shape[1] != with_.shape[1] or not len(without) or not len(with_):
        raise ConfigError(
            f"`without` and `with_` must be latents (N, Z) and (M, Z), got {tuple(without.shape)} and"
            f" {tuple(with_.shape)}"
        )
    return with_.mean(0) - without.mean(0)


def analogy(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Latents that relate to ``c`` as ``b`` to ``a``: ``c + b - a``, any shapes that fit together.

    >>> analogy(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([10.0])).item()
    12.0
    """
    return c + b - a


def path(start: Tensor, end: Tensor, steps: int, *, beyond: float = 0.0, spherical: bool = True) -> Tensor:
    """Latents from ``start`` to ``end`` and, if wanted, further on, ``(steps, Z)``.

    On a sphere the length of the latents goes evenly from one to the other, so that the middle is as far from the
    origin as the prior's samples are; a straight line passes through its centre, where there is no mass.

    Args:
        start: ``(Z,)``.
        end: ``(Z,)``.
        steps: At least 2, both ends counted.
        beyond: Goes on past ``end`` by this share of the way, 0 or more (extrapolation).
        spherical: Along a great circle; straight if False, or if the two point the same or opposite ways.

    Raises:
        ConfigError: ``steps`` is below 2, ``beyond`` negative, or the shapes differ.

    References:
        White, Sampling generative networks, 2016.
    """
    if start.ndim != 1 or start.shape != end.shape:
        raise ConfigError(f"`start` and `end` must be latents (Z,), got {tuple(start.shape)} and {tuple(end.shape)}")
    if not beyond >= 0:
        raise ConfigError(f"`beyond` must be 0 or more, got {beyond!r}")
    t = torch.linspace(0, 1 + beyond, checked_count("steps", steps, least=2), dtype=start.dtype, device=start.device)
    lengths = start.norm(), end.norm()
    if spherical and min(lengths) > 0:
        cosine = (start @ end / (lengths[0] * lengths[1])).clamp(-1, 1)
        angle = torch.acos(cosine)
        if torch.sin(angle) > 1e-4:
            first = torch.sin((1 - t) * angle)[:, None] * (start / lengths[0])
            second = torch.sin(t * angle)[:, None] * (end / lengths[1])
            length = (lengths[0] + t * (lengths[1] - lengths[0]))[:, None]
            return length * (first + second) / torch.sin(angle)
    return start + t[:, None] * (end - start)
