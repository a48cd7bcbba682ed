"""Small VAEs of points, many trained at once: the search spaces of SOLVE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.losses.elbo import gaussian_kl
from lightning_gvae.nets.stacked import StackedMLP
from lightning_gvae.rng import torch_stream

__all__ = ["FittedVAE", "StackedTerms", "StackedVAE", "fit_stacked", "from_unit", "range_of", "to_unit"]


class StackedTerms(NamedTuple):
    """Terms of K networks for a batch of B points each.

    Attributes:
        recon: Squared error, summed over features, mean over the batch, ``(K,)``.
        kl: KL to the standard normal, nats, summed over latents, mean over the batch, ``(K,)``.
        kl_dims: The same per latent dimension, ``(K, L)``.
        error: L2 norm of a feature's errors over the batch, mean over the features, ``(K,)``; the published measure by
            which the best of K trainings is chosen.
    """

    recon: Tensor
    kl: Tensor
    kl_dims: Tensor
    error: Tensor

    def loss(self, kl_scale: Tensor | float) -> Tensor:
        r"""Sum over the networks of :math:`\mathrm{recon} + s\,\mathrm{KL}`, so that each gets the gradient of its own.

        The published loss, squared errors summed over the batch plus the mean KL, is this one at ``s = 1 / batch
        size``, times the batch size, which Adam does not notice.
        """
        return (self.recon + kl_scale * self.kl).sum()


class StackedVAE(nn.Module):
    """K independent VAEs of points in [-1, 1]^D: Linear-ReLU-(mean, log-variance), Linear-ReLU-Linear-tanh.

    Args:
        dims: D.
        latent_dim: L.
        hidden: Widths of the hidden layers of the encoder; the decoder has them in reverse.
        generators: Source of the initial values of each of the K networks, on the CPU.
        log_var_bounds: Smallest and largest log-variance of a posterior; None for no bounds.
    """

    def __init__(
        self,
        dims: int,
        latent_dim: int,
        hidden: Sequence[int],
        generators: Sequence[torch.Generator],
        log_var_bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        checked_count("dims", dims)
        checked_count("latent_dim", latent_dim)
        for width in hidden:
            checked_count("hidden", width)
        self.dims, self.latent_dim, self.log_var_bounds = dims, latent_dim, log_var_bounds
        self.encoder = StackedMLP((dims, *hidden, 2 * latent_dim), generators)
        self.decoder = StackedMLP((latent_dim, *reversed(hidden), dims), generators)

    def forward(self, points: Tensor, noise: Tensor) -> StackedTerms:
        """Terms of points ``(K, B, D)``, or ``(B, D)`` for all networks, with latent noise ``(K, B, L)``."""
        count, batch, _ = noise.shape
        points = points.expand(count, *points.shape[-2:])
        mean, log_var = self._posterior(self.encoder(points))
        errors = (torch.tanh(self.decoder(mean + torch.exp(0.5 * log_var) * noise)) - points).square()
        kl_dims = gaussian_kl(mean, log_var).mean(1)
        with torch.no_grad():
            error = errors.detach().sum(1).sqrt().mean(1)
        return StackedTerms(errors.sum((1, 2)) / batch, kl_dims.sum(1), kl_dims, error)

    def encode(self, points: Tensor, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(B, L)`` of points ``(B, D)`` in [-1, 1] by network ``index``."""
        return self._posterior(self.encoder.single(points, index))

    def decode(self, latents: Tensor, index: int | Tensor) -> Tensor:
        """Points ``(B, D)`` in [-1, 1] of latents ``(B, L)`` by network ``index``.

        Raises:
            ConfigError: The latents have another size than the network's.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ConfigError(
                f"`latents` must be (n, {self.latent_dim}), the latent size of the decoder, got "
                f"{tuple(latents.shape)}; "
                "search in the box of this decoder, or load the model that the latents belong to."
            )
        return torch.tanh(self.decoder.single(latents.to(self.decoder_dtype), index))

    def _posterior(self, output: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = output.chunk(2, dim=-1)
        return mean, log_var if self.log_var_bounds is None else log_var.clamp(*self.log_var_bounds)

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.decoder.parameters()).dtype


def range_of(points: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each feature, ``(D,)`` each, of points ``(N, D)``."""
    return points.amin(0), points.amax(0)


def to_unit(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map the range of each feature to [-1, 1]; a feature without spread becomes 0."""
    width = high - low
    return torch.where(width > 0, 2 * (points - low) / width.where(width > 0, 1.0) - 1, 0.0)


def from_unit(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Inverse of :func:`to_unit`; rounding never leads out of the range."""
    return torch.clamp(low + 0.5 * (values + 1) * (high - low), low, high)


@dataclass(frozen=True)
class FittedVAE:
    """The best of K trainings on one data set, from problem units to latents and back.

    Args:
        net: All the networks of the stack.
        index: Which one this is.
        low: Smallest value of each feature of the data, ``(D,)``, problem units.
        high: Largest value.
        errors: The measure of the K trainings in the last epoch, ``(K,)``.
    """

    net: StackedVAE
    index: int
    low: Tensor
    high: Tensor
    errors: Tensor

    @property
    def latent_dim(self) -> int:
        """L."""
        return self.net.latent_dim

    @torch.no_grad()
    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(N, L)`` of points ``(N, D)`` in problem units."""
        return self.net.encode(to_unit(points, self.low, self.high).to(self.net.decoder_dtype), self.index)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Points ``(N, D)`` in problem units, never outside the range of the data, of latents ``(N, L)``."""
        return from_unit(self.net.decode(latents, self.index), self.low, self.high)


def fit_stacked(
    data: Sequence[Tensor],
    seeds: Sequence[int],
    *,
    latent_dim: int | None = None,
    hidden: Sequence[int] | None = None,
    candidates: int = 10,
    epochs: int = 200,
    batch_size: int = 64,
    lr: float = 1e-3,
    kl_scale: float = 1 / 64,
    progress: Callable[[int], None] | None = None,
) -> list[FittedVAE]:
    """Train ``candidates`` VAEs on each of S data sets, all at once, and keep the best of each set.

    A training is a function of its data, seed and number alone: how many others are in the stack makes no difference
    but in rounding. An epoch is one permutation of the set, the last incomplete batch is left out. Single thread, fp32,
    CPU.

    Args:
        data: S sets of points ``(N, D)`` in problem units, equally many in each.
        seeds: Seed of each set's initial weights, order and noise.
        latent_dim: L, default D.
        hidden: Widths of the hidden layers, default ``(2 L,)``.
        candidates: K.
        epochs: Passes over the data.
        batch_size: Points a step; N if that is smaller.
        lr: Learning rate of Adam.
        kl_scale: Weight of the KL beside the squared error, both means over the batch; published: 1 / batch size.
        progress: Called with the number of every epoch that is finished.

    Returns:
        One VAE a set: the one whose reconstruction error in the last epoch is smallest.

    Raises:
        ConfigError: A count is not positive, ``kl_scale`` is negative, or there are not as many seeds as sets.
        DataError: The sets differ in shape, are empty or not finite.

    References:
        Bentley, Lim, Gaier and Tran, Evolving Through the Looking Glass, 2022 (architecture, loss, best of 10).
    """
    _check(data, seeds, kl_scale, lr)
    counts = {"candidates": candidates, "epochs": epochs, "batch_size": batch_size}
    candidates, epochs, batch_size = (checked_count(name, count) for name, count in counts.items())
    size, dims = data[0].shape
    latent_dim, batch = latent_dim or dims, min(batch_size, size)
    widths = tuple(hidden) if hidden is not None else (2 * latent_dim,)
    keys = [(seed, number) for seed in seeds for number in range(candidates)]
    net = StackedVAE(dims, latent_dim, widths, [torch_stream(seed, "solve-weights", number) for seed, number in keys])
    ranges = [range_of(points.float()) for points in data]
    units = [to_unit(points.float(), *limits) for points, limits in zip(data, ranges, strict=True)]
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    steps = size // batch
    errors = torch.zeros(len(keys))
    for epoch in range(epochs):
        orders = [torch.randperm(size, generator=torch_stream(seed, "solve-order", epoch)) for seed in seeds]
        shuffled = torch.stack([points[order] for points, order in zip(units, orders, strict=True)])
        noise = torch.stack([_noise((steps, batch, latent_dim), seed, epoch, number) for seed, number in keys], dim=1)
        errors.zero_()
        for step in range(steps):
            points = shuffled[:, step * batch : (step + 1) * batch].repeat_interleave(candidates, dim=0)
            terms = net(points, noise[step])
            optimizer.zero_grad()
            terms.loss(kl_scale).backward()
            optimizer.step()
            errors += terms.error / steps
        if progress is not None:
            progress(epoch + 1)
    net.requires_grad_(False)
    groups = errors.view(len(data), candidates)
    return [
        FittedVAE(net, number * candidates + int(group.argmin()), *limits, group.clone())
        for number, (group, limits) in enumerate(zip(groups, ranges, strict=True))
    ]


def _noise(shape: tuple[int, int, int], seed: int, epoch: int, number: int) -> Tensor:
    return torch.randn(shape, generator=torch_stream(seed, "solve-noise", number, epoch))


def _check(data: Sequence[Tensor], seeds: Sequence[int], kl_scale: float, lr: float) -> None:
    if not data or len(data) != len(seeds):
        raise ConfigError(f"`seeds` must be one for every data set ({len(data)}, at least 1), got {len(seeds)}")
    if not kl_scale >= 0:
        raise ConfigError(f"`kl_scale` must be 0 or more, got {kl_scale}; published: 1 / batch size")
    if not lr > 0:
        raise ConfigError(f"`lr` must be positive, got {lr}")
    shapes = {tuple(points.shape) for points in data}
    if len(shapes) != 1 or data[0].ndim != 2 or not len(data[0]):
        raise DataError(f"`data` must be equally many points (N, D) in every set, got the shapes {sorted(shapes)}")
    if not all(points.isfinite().all() for points in data):
        raise DataError("`data` must be finite; a point is NaN or infinite")
