"""Fréchet distance of features (FID)."""

from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features, require_same_space
from lightning_gvae.metrics.fidelity.score import SEED, Score, mean_score, subset_size, subsets_of
from lightning_gvae.metrics.fidelity.statistics import Moments, moments_of

__all__ = ["fid"]


def fid(
    generated: Features | Moments,
    real: Features | Moments,
    *,
    resamples: int = 1,
    size: int | None = None,
    seed: int = SEED,
) -> Score:
    """Fréchet distance between normal distributions with the moments of both sets; 0 is best.

    It is biased upwards by about 1 / N: compare only scores of the same ``samples``.

    Args:
        generated: Features of generated images, or their moments, which leave nothing to resample.
        real: Features of real images, or their moments. All of them are used in every resample.
        resamples: Subsets of ``generated``.
        size: Images in a subset, drawn without replacement; None is all of them, or half with several resamples.
        seed: Of the draws.

    Raises:
        ConfigError: Fewer images than dimensions plus one, the sets lie in two spaces, or a setting is out of range.

    References:
        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, GANs trained by a two time-scale update rule, 2017.
    """
    require_same_space(generated.space, real.space)
    target = real if isinstance(real, Moments) else moments_of(real)
    if isinstance(generated, Moments):
        if resamples != 1 or size is not None:
            raise ConfigError("moments cannot be resampled; give the features of the generated images instead")
        return mean_score("fid", generated.space, [_frechet(generated, target)], generated.count, target.count, seed)
    size = subset_size(len(generated), resamples, size)
    values = [_frechet(moments_of(part), target) for part in subsets_of(generated, "generated", resamples, size, seed)]
    return mean_score("fid", generated.space, values, size, target.count, seed)


def _frechet(first: Moments, second: Moments) -> float:
    pair = [{"mu": moments.mean, "sigma": moments.covariance} for moments in (first, second)]
    return float(fid_statistics_to_metric(*pair, verbose=False)[KEY_METRIC_FID])
