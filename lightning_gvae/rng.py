"""The one way to draw random numbers: counter-based streams keyed by ``(seed, tag, counters)``.

A stream is a pure function of its key. Nothing is stored, no global generator is touched, and a resumed run draws
exactly what the uninterrupted run would have drawn, on every rank that uses the same key.
"""

import hashlib

import numpy as np
import torch

__all__ = ["numpy_stream", "stream_key", "torch_stream"]


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
