"""Kernel distance of features (KID)."""

from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features, require_same_space
from lightning_gvae.metrics.fidelity.score import SEED, Score, make_score

__all__ = ["kid"]


def kid(generated: Features, real: Features, *, subsets: int = 100, size: int = 1000, seed: int = SEED) -> Score:
    """Squared maximum mean discrepancy with the kernel (x·y / D + 1)³; 0 is best, unbiased, may be a little negative.

    Args:
        generated: Features of generated images.
        real: Features of real images.
        subsets: Pairs of subsets.
        size: Images in each subset, drawn without replacement.
        seed: Of the draws.

    Raises:
        ConfigError: A set has fewer than ``size`` images, they lie in two spaces, or a setting is out of range.

    References:
        Bińkowski, Sutherland, Arbel, Gretton, Demystifying MMD GANs, 2018.
    """
    require_same_space(generated.space, real.space)
    smaller = min(len(generated), len(real))
    if subsets < 1 or not 2 <= size <= smaller:
        raise ConfigError(
            f"KID needs at least 1 subset of 2..{smaller} images (the smaller set has {smaller}), got {subsets} of"
            f" {size}; lower `size` or take more images"
        )
    found = kid_features_to_metric(
        generated.values, real.values, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False
    )
    value, sd = found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD] if subsets > 1 else None
    return make_score("kid", generated.space, value, sd, size, size, subsets, seed)
