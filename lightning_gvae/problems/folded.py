"""Folds of a decoder: a grid of latents and the points of the problem's space that it decodes to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_gvae.errors import checked_count
from lightning_gvae.evolution.latent.search import Problem

__all__ = ["Fold", "fold"]

PROBES = 65  # latents along each axis by which the most telling ones are found


@dataclass(frozen=True)
class Fold:
    """A grid over one or two latents; the other latents are 0.

    Args:
        axes: Numbers of the latents that span the grid, one or two.
        values: Values of a latent along the grid, ``(W,)``.
        decoded: ``(H, W, D)``, problem units; row h is the h-th value of the second latent, H is 1 if there is but one.
        objective: ``(H, W)``.
        violation: Sum of the violations, ``(H, W)``; 0 where all criteria are met.
    """

    axes: tuple[int, ...]
    values: np.ndarray
    decoded: np.ndarray
    objective: np.ndarray
    violation: np.ndarray


@torch.no_grad()
def fold(
    decode: Callable[[Tensor], Tensor], problem: Problem, latent_dim: int, bound: float = 2.0, resolution: int = 161
) -> Fold:
    """Decode a grid over the two latents that move the decoded points farthest.

    Args:
        decode: Latents ``(N, L)`` to points ``(N, D)``.
        problem: Scores them.
        latent_dim: L.
        bound: The grid goes from ``-bound`` to ``bound``.
        resolution: Grid points along an axis, at least 2.
    """
    checked_count("resolution", resolution, least=2)
    axes = _axes(decode, latent_dim, bound)
    values = torch.linspace(-bound, bound, resolution)
    latents = torch.zeros(resolution if len(axes) == 2 else 1, resolution, latent_dim)
    latents[..., axes[0]] = values
    if len(axes) == 2:
        latents[..., axes[1]] = values[:, None]
    flat = decode(latents.flatten(0, 1))
    shape = latents.shape[:2]
    return Fold(
        axes,
        values.numpy(),
        flat.unflatten(0, shape).cpu().numpy(),
        problem.objective(flat).view(shape).cpu().numpy(),
        problem.violations(flat).sum(1).view(shape).cpu().numpy(),
    )


def _axes(decode: Callable[[Tensor], Tensor], latent_dim: int, bound: float) -> tuple[int, ...]:
    """The two latents whose change alone spreads the decoded points most, in ascending order."""
    probes = torch.zeros(latent_dim, PROBES, latent_dim)
    for axis in range(latent_dim):
        probes[axis, :, axis] = torch.linspace(-bound, bound, PROBES)
    decoded = decode(probes.flatten(0, 1)).unflatten(0, (latent_dim, PROBES))
    spread = decoded.flatten(2).std(1).square().sum(1)
    return tuple(sorted(spread.argsort(descending=True, stable=True)[:2].tolist()))
