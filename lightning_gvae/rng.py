"""The one way to draw random numbers: counter-based streams keyed by ``(seed, tag, counters)``.

A stream is a pure function of its key. Nothing is stored, no global generator is touched, and a resumed run draws
exactly what the uninterrupted run would have drawn, on every rank that uses the same key.
"""

import hashlib
from typing import Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["GivenNoise", "numpy_stream", "standard_normal", "stream_key", "torch_stream"]


def stream_key(seed: int, tag: str, *counters: int) -> int:
    """128-bit key of a stream; different seeds, tags or counters give unrelated keys.

    Args:
        seed: Seed of the run.
        tag: What is drawn, for example ``"permutation"``.
        counters: Where in the run it is drawn, for example ``(epoch, batch)``.

    >>> stream_key(1, "noise", 0) == stream_key(1, "noise", 0)
    True
    >>> stream_key(1, "noise", 0) == stream_key(1, "noise", 1)
    False
    """
    text = "/".join([str(int(seed)), tag, *(str(int(counter)) for counter in counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def numpy_stream(seed: int, tag: str, *counters: int) -> np.random.Generator:
    """NumPy generator (Philox) of the stream ``(seed, tag, counters)``."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, tag, *counters)))


def torch_stream(seed: int, tag: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch generator of the stream ``(seed, tag, counters)`` on ``device``."""
    generator = torch.Generator(device=device)
    generator.manual_seed(stream_key(seed, tag, *counters) & (2**63 - 1))
    return generator


class GivenNoise(torch.Generator):
    """Standard normal noise that was drawn before, in the place of a generator; :func:`standard_normal` returns it.

    For networks that run together under :func:`torch.func.vmap`, where one generator would give all of them the same
    draws. Code that draws in another way than by :func:`standard_normal` gets other numbers, the same for all; whoever
    relies on the noise asks ``taken``.

    Args:
        noise: Any shape.
    """

    taken: int  # how often the noise was asked for

    def __new__(cls, noise: Tensor) -> Self:
        """Make the generator that it also is, of the device of the noise."""
        return super().__new__(cls, device=noise.device)  # type: ignore[call-arg]  # torch declares an `__init__`

    def __init__(self, noise: Tensor) -> None:
        self.noise, self.taken = noise, 0


def standard_normal(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal draws of the shape, type and device of ``like``, from ``generator`` or the global one.

    Raises:
        ValueError: ``generator`` is a :class:`GivenNoise` of another shape.
    """
    if not isinstance(generator, GivenNoise):
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
    generator.taken += 1
    if generator.noise.shape != like.shape:
        raise ValueError(f"the noise given must be of shape {tuple(like.shape)}, got {tuple(generator.noise.shape)}")
    return generator.noise
