"""Typical set of the aggregate posterior: the latents that a decoder has been trained on."""

from typing import Literal

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError

__all__ = ["TypicalSet"]


class TypicalSet:
    """Latents that lie as far from the centre as those of data do.

    In many dimensions nearly all of a Gaussian lies in a thin shell: a latent near the centre is as untypical as one
    far outside, though its density is the highest. So the distance must lie between two quantiles of the distances of
    encoded data, not only below one.

    Args:
        latents: Draws from the posteriors of data ``(N, L)``, at least 2.
        quantiles: Share of the data that lies nearer, and share of those that do not lie farther; 0 allows the centre.
        distance: ``"mahalanobis"`` (in standard deviations of the latents, correlations taken out, over the square root
            of L: 1 on average) or ``"norm"`` (the length of the latent, as under a standard normal prior).

    Raises:
        ConfigError: No latents, NaN, or quantiles that are not 0 <= low < high <= 1.

    >>> draws = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0))
    >>> inside = TypicalSet(draws, (0.05, 0.95))
    >>> round(float(inside(draws).double().mean()), 2), bool(inside(torch.zeros(1, 10)))
    (0.9, False)
    """

    def __init__(
        self,
        latents: Tensor,
        quantiles: tuple[float, float] = (0.005, 0.995),
        distance: Literal["mahalanobis", "norm"] = "mahalanobis",
    ) -> None:
        if latents.ndim != 2 or len(latents) < 2 or not latents.isfinite().all():
            raise ConfigError(f"`latents` must be finite, one row a data point, got shape {tuple(latents.shape)}")
        if len(quantiles) != 2 or not 0 <= quantiles[0] < quantiles[1] <= 1:
            raise ConfigError(f"`quantiles` must be [low, high] with 0 <= low < high <= 1, got {list(quantiles)}")
        if distance not in ("mahalanobis", "norm"):
            raise ConfigError(f"`distance` must be mahalanobis or norm, got {distance!r}")
        rows = latents.cpu().double()
        size = rows.shape[1]
        self._centre, self._precision = rows.new_zeros(size), torch.eye(size, dtype=rows.dtype)
        if distance == "mahalanobis":
            self._centre = rows.mean(0)
            # A floor: a latent without spread must not decide everything.
            spread = torch.cov(rows.T).reshape(size, size) + 1e-6 * torch.eye(size, dtype=rows.dtype)
            self._precision = torch.linalg.inv(spread)
        # By sorting: torch.quantile takes no more than 16 million entries.
        ordered = self.distances(rows).sort().values
        self.low, self.high = (float(ordered[round(q * (len(ordered) - 1))]) for q in quantiles)
        if quantiles[0] == 0:
            self.low = 0.0

    def distances(self, latents: Tensor) -> Tensor:
        """Distance of latents ``(N, L)`` from the centre over the square root of L, fp64 ``(N,)``, on the CPU."""
        rows = latents.cpu().double() - self._centre
        return ((rows @ self._precision) * rows).mean(1).clamp(min=0).sqrt()

    def __call__(self, latents: Tensor) -> Tensor:
        """Whether latents ``(N, L)`` are typical, ``(N,)``, on their device."""
        found = self.distances(latents)
        return ((self.low <= found) & (found <= self.high)).to(latents.device)
