"""Pure diversity: how far apart the members of a set lie, summed along a tree that reaches all of them."""

import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from lightning_gvae.errors import ConfigError, DataError

__all__ = ["hamming", "pure_diversity", "spanning_tree_weight"]

MOST = 5000  # samples; a matrix of 25 million distances is 200 MB
NEAREST = 1e-6  # SciPy takes what lies within 1e-8 of zero for no edge


def hamming(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Share of pixels in which two images differ once they are black and white, fp64 ``(N, N)``, 0 to 1.

    Args:
        images: ``(N, ...)``, float in 0..1 or uint8 (0..255).
        threshold: Pixels above this part of the range are white.
    """
    bits = (images.flatten(1).float() / (255 if images.dtype == torch.uint8 else 1) > threshold).double()
    ones = bits.sum(1)
    both = bits @ bits.T
    return ((ones[:, None] + ones - 2 * both) / bits.shape[1]).clamp(min=0)


def pure_diversity(distances: Tensor) -> float:
    """Sum of N - 1 distances, by the greedy algorithm of the published implementation.

    Again and again the sample with the largest distance to its nearest neighbour is taken out, and that distance added;
    an edge that closes a cycle is passed over. It grows with N: compare sets of equal size. Identical samples add 0.
    The result is at least :func:`spanning_tree_weight`.

    >>> pure_diversity(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 3.0], [5.0, 3.0, 0.0]]))
    4.0

    Args:
        distances: ``(N, N)``, symmetric, 0 on the diagonal.

    Raises:
        ConfigError: More than 5000 samples.
        DataError: It is no matrix of distances.

    References:
        Wang, Jin and Yao, Diversity assessment in many-objective optimization, 2017.
    """
    rows = _checked(distances).clone()
    count = len(rows)
    rows.fill_diagonal_(torch.inf)
    nearest, towards = rows.min(1)
    group = torch.arange(count)
    total = 0.0
    for _ in range(count - 1):
        while True:
            row = int(nearest.argmax())
            column, distance = int(towards[row]), float(nearest[row])
            joins = bool(group[row] != group[column])
            # The edge is used up, whether it is taken or closes a cycle; a row that was taken out stays out.
            for one, other in ((row, column), (column, row)):
                if nearest[one] > -torch.inf:
                    rows[one, other] = torch.inf
                    nearest[one], towards[one] = rows[one].min(0)
            if joins:
                break
        total += distance
        group[group == group[column]] = group[row].clone()
        nearest[row] = -torch.inf
    return total


def spanning_tree_weight(distances: Tensor) -> float:
    """Weight of the minimum spanning tree: a lower bound of :func:`pure_diversity` that costs N² log N.

    Raises:
        ConfigError: More than 5000 samples.
        DataError: It is no matrix of distances.
    """
    rows = _checked(distances)
    tree = minimum_spanning_tree((rows + NEAREST).fill_diagonal_(0).numpy())
    return float(tree.sum()) - NEAREST * (len(rows) - 1)


def _checked(distances: Tensor) -> Tensor:
    rows = torch.as_tensor(distances).double()
    if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or not len(rows):
        raise DataError(f"`distances` must be a square matrix (N, N), got {tuple(rows.shape)}")
    if len(rows) > MOST:
        raise ConfigError(f"pure diversity is computed for up to {MOST} samples, got {len(rows)}; take fewer")
    if not rows.isfinite().all() or float(rows.min()) < 0:
        raise DataError("`distances` must be finite and 0 or more")
    if float((rows - rows.T).abs().max()) > 1e-9 * max(1.0, float(rows.max())) or float(rows.diagonal().max()) > 0:
        raise DataError("`distances` must be symmetric and 0 on the diagonal")
    return rows
