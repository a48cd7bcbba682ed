"""Mutual information gap of the aggregate posterior, by Monte Carlo: no bins, but the posteriors of the whole set."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.devices import widest_float
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.disentanglement.checks import check_varied, checked_count, checked_factors
from lightning_gvae.metrics.disentanglement.mig import InformationGap, gap_of
from lightning_gvae.metrics.disentanglement.mutual_information import entropies
from lightning_gvae.rng import torch_stream

__all__ = ["DSPRITES_FACTORS", "aggregate_entropies", "mig_chen"]

DSPRITES_FACTORS = (1, 2, 3, 4)  # the papers leave the shape out
LOG_2PI = math.log(2 * math.pi)


def mig_chen(
    means: Tensor,
    log_vars: Tensor,
    factors: npt.ArrayLike,
    *,
    seed: int,
    use: Sequence[int] | None = DSPRITES_FACTORS,
    samples: int = 10_000,
    max_elements: int = 2**20,
) -> InformationGap:
    r"""Mutual information gap with :math:`I(z_j; v_k) = H(z_j) - \sum_v p(v)\, H(z_j | v_k = v)`.

    The entropies are those of aggregate posteriors, :math:`q(z_j) = \frac{1}{N} \sum_n q(z_j | x_n)` over all images
    or over those with ``v_k = v``. Information is cut to the range 0..H(v_k) that it has without sampling noise. Not
    comparable with :func:`~lightning_gvae.metrics.disentanglement.mig.mig`, which knows the means only.

    Cost: ``(1 + len(use)) * N * samples * L`` Gaussian densities, 3.7e11 for dSprites with 10 latents, which is half an
    hour of one core and a matter for a GPU. It falls with ``samples``, at the price of noise: an entropy is uncertain
    by about 0.7 / sqrt(samples) nats. It falls with the images too, but that changes the score: posteriors that
    overlap in the whole set may not in a part of it.

    Args:
        means: Posterior means ``(N, L)`` of all images of the set, on the device to compute on.
        log_vars: Logarithms of the posterior variances, ``(N, L)``.
        factors: Integer classes ``(N, F)`` of the images, in any order.
        use: Indices of the factors that count; None: all. The default is that of the papers for dSprites.
        seed: Seed of the samples; they are the same on every device.
        samples: Samples an entropy. The images are gone through in random order, again if they are fewer.
        max_elements: Densities in memory at a time, 4 bytes each and a few copies. The default suits the cache of a
            processor; GPUs like 2**26.

    Returns:
        Gaps and entropies of the factors in the order of ``use``; nats.

    Raises:
        ConfigError: Fewer than two latents, a setting is out of range, or ``use`` names a factor that is not there.
        DataError: Shapes do not fit, a value is not finite, or a factor has one value only.

    References:
        Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in VAEs, 2018, section 4 and appendix C.
    """
    means, log_vars = _checked_posteriors(means, log_vars)
    classes = checked_factors(factors, len(means))
    chosen = _checked_choice(classes.shape[1], use)
    check_varied(np.asarray(factors)[:, chosen], chosen)
    classes = classes[:, chosen]
    checked_count("samples", samples)
    checked_count("max_elements", max_elements)
    marginal = aggregate_entropies(means, log_vars, samples, torch_stream(seed, "mig_chen"), max_elements)
    columns = []
    for k, column in enumerate(classes.T):
        conditional = torch.zeros_like(marginal)
        for value in range(int(column.max()) + 1):
            members = torch.from_numpy(np.flatnonzero(column == value)).to(means.device)
            stream = torch_stream(seed, "mig_chen", k, value)
            entropy = aggregate_entropies(means[members], log_vars[members], samples, stream, max_elements)
            conditional += len(members) / len(means) * entropy
        columns.append(marginal - conditional)
    entropy_of_factors = entropies(classes)
    information = torch.stack(columns, dim=1).cpu().numpy()
    return gap_of(np.clip(information, 0.0, entropy_of_factors), entropy_of_factors)


def aggregate_entropies(
    means: Tensor, log_vars: Tensor, samples: int, generator: torch.Generator, max_elements: int = 2**20
) -> Tensor:
    r"""Entropy of each latent under the mixture of all given posteriors, ``(L,)``, nats, fp64 where the device has it.

    .. math:: H_j = -\frac{1}{S} \sum_s \ln \frac{1}{N} \sum_n \mathcal{N}(z_{sj}; \mu_{nj}, \sigma_{nj}^2)

    Args:
        means: ``(N, L)``.
        log_vars: ``(N, L)``.
        samples: S, drawn from the posteriors of images in random order, from the first one again after the last.
        generator: On the processor, whatever the device of ``means``.
        max_elements: Densities in memory at a time.
    """
    count, latents = means.shape
    order = torch.randperm(count, generator=generator)
    picks = order.repeat(-(-samples // count))[:samples].to(means.device)
    noise = torch.randn(samples, latents, generator=generator, dtype=means.dtype).to(means.device)
    drawn = means[picks] + noise * (0.5 * log_vars[picks]).exp()
    # Latents first, so that each is contiguous. Transposed, not viewed: a view of (S, L) as (L, S) mixes up latents.
    rows, centres = drawn.T.contiguous(), means.T.contiguous()
    scales = (-0.5 * log_vars.T).exp().mul_(math.sqrt(0.5)).contiguous()
    offsets = (-0.5 * (log_vars.T + LOG_2PI)).contiguous()
    wide = widest_float(means.device)
    entropy = torch.zeros(latents, dtype=wide, device=means.device)
    for j in range(latents):
        for part in _pieces(samples, max(1, max_elements // count)):
            log_density = _log_mixture(rows[j, part], centres[j], scales[j], offsets[j], max_elements)
            entropy[j] -= (log_density - math.log(count)).sum(dtype=wide)
    return entropy / samples


def _log_mixture(points: Tensor, centres: Tensor, scales: Tensor, offsets: Tensor, max_elements: int) -> Tensor:
    """Logarithm of the sum of Gaussian densities at ``points`` ``(S,)``, components ``(N,)``."""
    total = torch.full_like(points, -math.inf)
    for part in _pieces(len(centres), max(1, max_elements // len(points))):
        # Differences first: the expanded square would cancel where posteriors are narrow.
        exponents = points[:, None] - centres[None, part]
        exponents.mul_(scales[part]).square_().neg_().add_(offsets[part])
        total = torch.logaddexp(total, exponents.logsumexp(1))
    return total


def _pieces(length: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, length, size))


def _checked_posteriors(means: Tensor, log_vars: Tensor) -> tuple[Tensor, Tensor]:
    if means.ndim != 2 or means.shape != log_vars.shape or not len(means):
        raise DataError(
            f"`means` and `log_vars` must both be (images, latents), got {tuple(means.shape)} and "
            f"{tuple(log_vars.shape)}"
        )
    if means.shape[1] < 2:
        raise ConfigError(f"the score compares latents and needs at least 2, got {means.shape[1]}; leave it out")
    for name, values in (("means", means), ("log_vars", log_vars)):
        bad = int((~values.isfinite()).sum())
        if bad:
            raise DataError(f"`{name}` must be finite, got {bad} values that are not; the encoder has diverged")
    wide = torch.float64 if means.dtype == torch.float64 else torch.float32
    return means.detach().to(wide), log_vars.detach().to(means.device, wide)


def _checked_choice(count: int, use: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(count)) if use is None else tuple(use)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= k < count for k in chosen):
        raise ConfigError(f"`use` must name different factors among 0..{count - 1}, got {chosen}; None takes all")
    return chosen
