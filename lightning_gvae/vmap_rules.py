"""What the ``vmap`` rules of our autograd functions have in common."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

__all__ = ["in_front"]


def in_front(count: int, dims: Sequence[int | None], *parts: Tensor | None) -> list[Any]:
    """Each part with the dimension that ``vmap`` hides in front, repeated without a copy where it has none."""
    return [
        None if part is None else part.expand(count, *part.shape) if dim is None else part.movedim(dim, 0)
        for part, dim in zip(parts, dims, strict=True)
    ]
