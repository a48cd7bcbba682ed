"""Scores of a set of posteriors that need no labels: how much the codes say, and how independent they are."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightning_gvae.metrics.aggregate_posterior import aggregate_kl
from lightning_gvae.rng import torch_stream

__all__ = ["CODE_SCORES", "active_units", "code_scores", "gaussian_total_correlation"]

ACTIVE = 0.01  # variance of a posterior mean over the data from which on a dimension counts as active


def gaussian_total_correlation(mean: Tensor) -> float:
    r"""Total correlation of a Gaussian with the covariance of posterior means ``(N, Z)``, nats.

    .. math:: \tfrac12 \Big(\sum_j \log C_{jj} - \log\det C\Big)

    over the active dimensions: 0 where they are uncorrelated. At least Z + 1 means are needed for a finite value.

    References:
        Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations,
        2019, section 5.4.
    """
    means = mean.double()
    means = means[:, means.var(0, unbiased=False) >= ACTIVE]
    if means.shape[1] < 2:
        return 0.0
    correlations = torch.corrcoef(means.T)
    return float(-0.5 * torch.linalg.slogdet(correlations).logabsdet)


def active_units(mean: Tensor) -> int:
    """Latent dimensions whose posterior mean ``(N, Z)`` has a variance of at least 0.01 over the set."""
    return int((mean.double().var(0, unbiased=False) >= ACTIVE).sum())


def _part(name: str) -> Callable[[Tensor, Tensor], float]:
    def score(mean: Tensor, log_var: Tensor) -> float:
        # The same noise every time: candidates are compared, and only differences count.
        found = aggregate_kl(mean.cpu(), log_var.cpu(), torch_stream(0, "code-scores"))
        return float(getattr(found, name))

    return score


CODE_SCORES: Mapping[str, Callable[[Tensor, Tensor], float]] = {
    "information": _part("mutual_information"),
    "total_correlation": _part("total_correlation"),
    "dimension_wise_kl": _part("dimension_wise_kl"),
    "gaussian_total_correlation": lambda mean, _: gaussian_total_correlation(mean),
    "active_units": lambda mean, _: float(active_units(mean)),
}
"""Score by name, of means and log-variances ``(N, Z)`` of N images; the first three are exact for their mixture, see
:func:`~lightning_gvae.metrics.aggregate_posterior.aggregate_kl`."""


def code_scores(names: tuple[str, ...], mean: Tensor, log_var: Tensor) -> list[float]:
    """Scores by name of posteriors ``(N, Z)``; NaN for all where a posterior is not finite."""
    if not (mean.isfinite().all() and log_var.isfinite().all()):
        return [float("nan")] * len(names)
    return [CODE_SCORES[name](mean, log_var) for name in names]
