"""Decomposition of a VAE's KL: mutual information, total correlation, distance of the marginals from the prior."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gvae.devices import float64, widest_float
from lightning_gvae.errors import ConfigError, DataError

__all__ = ["AggregateKL", "aggregate_kl"]


class AggregateKL(NamedTuple):
    """Parts of the mean KL of a set of N images, nats, fp64 on the CPU.

    Attributes:
        mutual_information: I(x; z) between the index of an image and its latents; between 0 and ``ceiling``. Scalar.
        total_correlation: KL(q(z) || prod_j q(z_j)), 0 where the latents are independent. Scalar.
        dimension_wise_kl: sum_j KL(q(z_j) || N(0, 1)). Scalar.
        marginal_kl: Its terms, ``(Z,)``.
        errors: Standard errors of the first three by Monte Carlo, ``(3,)``.
        kl: The mean KL in closed form, which the three add up to within Monte Carlo error. Scalar.
        ceiling: ln N, the most that the estimate of I(x; z) can be with N images.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor
    marginal_kl: Tensor
    errors: Tensor
    kl: Tensor
    ceiling: float

    @property
    def prior_kl(self) -> Tensor:
        """KL(q(z) || N(0, I)), the part that a better sampler than the prior removes. Scalar, nats."""
        return self.total_correlation + self.dimension_wise_kl


@torch.no_grad()
def aggregate_kl(
    mean: Tensor, log_var: Tensor, generator: torch.Generator, draws: int | None = None, chunk: int = 256
) -> AggregateKL:
    r"""Decompose the mean KL of a set of posteriors with respect to their mixture.

    .. math:: \frac1N \sum_n \mathrm{KL}(q(z|x_n) \| p(z)) = I(x; z)
              + \mathrm{KL}\Big(q(z) \Big\| \prod_j q(z_j)\Big) + \sum_j \mathrm{KL}(q(z_j) \| p(z_j))

    with the full mixture :math:`q(z) = \frac1N \sum_n q(z|x_n)` of the given set, no minibatch weighting, and
    :math:`p(z) = N(0, I)`. The expectations over z are Monte Carlo; all parts share the draws, so that their sum has
    the error of the KL alone and I(x; z) is exactly 0 where all posteriors are equal.

    I(x; z) of N images is at most ln N (9.2 nats for 10,000): a larger KL shows up in the other parts, mostly in the
    total correlation, although the latents may be independent over all images there could be. Compare models on the
    same N; where I(x; z) is near ln N, it is too small and ``prior_kl`` too large.

    Time grows with ``draws * N * Z``, memory with ``chunk ** 2 * Z``.

    Args:
        mean: Posterior means, ``(N, Z)``.
        log_var: Natural logarithms of the posterior variances, ``(N, Z)``.
        generator: Source of the noise, on the device of ``mean``.
        draws: Latents drawn, at least 2; spread evenly over the posteriors in random order. Default: one a posterior.
        chunk: Latents and posteriors compared at a time, at least 1. Changes nothing but memory and speed.

    Raises:
        ConfigError: ``draws`` or ``chunk`` is out of range.
        DataError: ``mean`` and ``log_var`` are not both a finite ``(N, Z)``.

    References:
        Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in Variational Autoencoders, 2018, eq. 2.
        Hoffman and Johnson, ELBO Surgery: Yet Another Way to Carve up the Variational Evidence Lower Bound, 2016.
    """
    if mean.ndim != 2 or mean.shape != log_var.shape or not mean.numel():
        raise DataError(
            f"`mean` and `log_var` must both be (N, Z) with N, Z of at least 1, got {tuple(mean.shape)} and "
            f"{tuple(log_var.shape)}."
        )
    if not (mean.isfinite().all() and log_var.isfinite().all()):
        raise DataError("`mean` and `log_var` must be finite; the encoder returned NaN or infinity.")
    n_images = len(mean)
    draws = max(2, n_images) if draws is None else draws
    if draws < 2 or chunk < 1:
        raise ConfigError(f"`draws` must be at least 2 and `chunk` at least 1, got draws={draws}, chunk={chunk}.")

    means, log_vars = float64(mean), float64(log_var)
    order = torch.randperm(n_images, generator=generator, device=mean.device).to(means.device)
    source = order.repeat(-(-draws // n_images))[:draws]
    wide = widest_float(mean.device)
    noise = float64(torch.randn(draws, mean.shape[1], dtype=wide, device=mean.device, generator=generator))
    latents = means[source] + torch.exp(0.5 * log_vars[source]) * noise

    log_conditional = -0.5 * (noise.square() + log_vars[source]).sum(1)
    log_prior = -0.5 * latents.square()
    rows = [_log_mixture(part, means, log_vars, chunk) for part in latents.split(chunk)]
    log_joint = torch.cat([joint for joint, _ in rows])
    log_marginals = torch.cat([marginals for _, marginals in rows])

    samples = torch.stack(
        [
            log_conditional - log_joint,
            log_joint - log_marginals.sum(1),
            (log_marginals - log_prior).sum(1),
        ]
    )
    information, correlation, dimension_wise = samples.mean(1).cpu()
    return AggregateKL(
        mutual_information=information,
        total_correlation=correlation,
        dimension_wise_kl=dimension_wise,
        marginal_kl=(log_marginals - log_prior).mean(0).cpu(),
        errors=(samples.std(1) / math.sqrt(draws)).cpu(),
        kl=0.5 * (means.square() + torch.expm1(log_vars) - log_vars).sum(1).mean().cpu(),
        ceiling=math.log(n_images),
    )


def _log_mixture(latents: Tensor, means: Tensor, log_vars: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Log density of the mixture at ``latents (M, Z)``, joint ``(M,)`` and per dimension ``(M, Z)``.

    All densities in this file omit the factor ``(2 pi)^(-1/2)`` a dimension: it cancels in every difference.
    """
    joint = latents.new_full((len(latents),), -torch.inf)
    marginals = torch.full_like(latents, -torch.inf)
    for mean, log_var in zip(means.split(chunk), log_vars.split(chunk), strict=True):
        scaled = (latents[:, None] - mean) * torch.exp(-0.5 * log_var)
        components = -0.5 * (scaled.square() + log_var)  # (M, chunk, Z)
        joint = torch.logaddexp(joint, components.sum(2).logsumexp(1))
        marginals = torch.logaddexp(marginals, components.logsumexp(1))
    return joint - math.log(len(means)), marginals - math.log(len(means))
