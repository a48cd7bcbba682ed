"""Variation of real vectors: SBX crossover, Cauchy mutation, reflection. Arrays in, arrays out.

The uniforms may be given explicitly, so that a result is a pure function of its arguments.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "Uniforms", "cauchy", "reflect", "sbx", "spread_factor"]

Array = NDArray[np.float64]
Uniforms = np.random.Generator | ArrayLike

# Cauchy jumps have no finite variance; this keeps the longest one at 3e5 scales.
_CAUCHY_EDGE = 1e-6


def spread_factor(u: ArrayLike, eta: float) -> Array:
    r"""Distance of SBX children relative to that of their parents.

    .. math:: q(u) = (2u)^{1/(\eta+1)} \text{ if } u \le \tfrac12, \text{ else } (2(1-u))^{-1/(\eta+1)}

    Half of all draws contract (q <= 1), half expand.

    Args:
        u: Uniforms in ``[0, 1)``, any shape.
        eta: Spread index, positive; larger keeps children nearer their parents.

    Raises:
        ValueError: ``eta`` is not positive.

    >>> spread_factor([0.0, 0.5], eta=2.0).tolist()
    [0.0, 1.0]
    """
    if not eta > 0:
        raise ValueError(f"`eta` must be positive, got {eta}")
    u = np.minimum(np.asarray(u, dtype=np.float64), np.nextafter(1.0, 0.0))
    power = 1.0 / (eta + 1.0)
    return np.where(u <= 0.5, (2.0 * u) ** power, (0.5 / (1.0 - u)) ** power)


def sbx(first: ArrayLike, second: ArrayLike, eta: float, u: Uniforms) -> tuple[Array, Array]:
    r"""Simulated binary crossover: two children around two parents.

    .. math:: c_{1,2} = \tfrac12[(1 \pm q) p_1 + (1 \mp q) p_2]

    The children's mean equals the parents' mean, gene by gene; equal parents return the parent. The children are not
    bounded: fold them with :func:`reflect`.

    Args:
        first: Parent ``(d,)``.
        second: Parent ``(d,)``.
        eta: Spread index, positive; larger keeps children nearer their parents.
        u: A generator, or one uniform a gene, ``(d,)``.

    Returns:
        The two children, each ``(d,)``.

    Raises:
        ValueError: the parents differ in shape, or ``eta`` is not positive.

    References:
        Deb and Agrawal, Simulated Binary Crossover for Continuous Search Space, Complex Systems 9, 1995.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"`first` and `second` must have the same shape, got {first.shape} and {second.shape}")
    q = spread_factor(_uniforms(u, first.shape), eta)
    # Written around the mean: the sum of the children stays exact where (1 + q) p would round.
    middle, half = 0.5 * (first + second), 0.5 * q * (first - second)
    return middle + half, middle - half


def cauchy(x: ArrayLike, scale: float, u: Uniforms) -> Array:
    r"""Cauchy mutation, :math:`x' = x + s \tan(\pi(u - \tfrac12))`.

    The median absolute jump is ``scale``. ``u`` is kept in ``[1e-6, 1 - 1e-6]``, so that every jump is finite. The
    result is not bounded: fold it with :func:`reflect`.

    Args:
        x: Any shape.
        scale: Half width at half maximum, non-negative; 0 is the identity.
        u: A generator, or one uniform an entry of ``x``.

    Raises:
        ValueError: ``scale`` is negative.
    """
    if not scale >= 0:
        raise ValueError(f"`scale` must not be negative, got {scale}")
    x = np.asarray(x, dtype=np.float64)
    u = np.clip(_uniforms(u, x.shape), _CAUCHY_EDGE, 1.0 - _CAUCHY_EDGE)
    return x + scale * np.tan(np.pi * (u - 0.5))


def reflect(x: ArrayLike) -> Array:
    """Fold the real line into ``[0, 1]`` by a triangle wave; the identity inside.

    A jump beyond a bound comes back from it by as much as it went over, as often as needed, so every finite jump
    lands inside and neither bound collects a lump of probability.

    Raises:
        ValueError: an entry is NaN or infinite.

    >>> reflect([-0.25, 0.5, 1.25, 7.0]).tolist()
    [0.25, 0.5, 0.75, 1.0]
    """
    x = np.asarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"`x` must be finite, got {x.tolist()}")
    # Inside, x itself: x mod 2 rounds tiny negative numbers to 2.0, and the identity should be exact.
    return np.where((x >= 0.0) & (x <= 1.0), x, 1.0 - np.abs(np.mod(x, 2.0) - 1.0))


def _uniforms(u: Uniforms, shape: tuple[int, ...]) -> Array:
    if isinstance(u, np.random.Generator):
        return u.random(shape)
    return np.broadcast_to(np.asarray(u, dtype=np.float64), shape)
