"""Inception score (IS): are generated images of clear and even classes?"""

from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features
from lightning_gvae.metrics.fidelity.score import SEED, Score, make_score

__all__ = ["inception_score"]


def inception_score(generated: Features, *, splits: int = 10, seed: int = SEED) -> Score:
    """Exponential of the mutual information of image and class; 1 to the number of classes, high is best.

    It says nothing about the real images, and each split of N / splits images is biased low by their number.

    Args:
        generated: Features of generated images with logits.
        splits: Parts of the shuffled images, each scored alone.
        seed: Of the shuffle.

    Raises:
        ConfigError: The space has no logits, or there are fewer images than splits.

    References:
        Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, Improved techniques for training GANs, 2016.
    """
    if generated.logits is None:
        raise ConfigError(
            f"the inception score needs a space with classes, {generated.space.name} has none; use inception,"
            " efficientnet_lite0 or domain"
        )
    if not 1 <= splits <= len(generated):
        raise ConfigError(f"`splits` must be in 1..{len(generated)}, the number of images, got {splits}")
    found = isc_features_to_metric(generated.logits, splits, True, seed)
    value, sd = found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD] if splits > 1 else None
    return make_score("is", generated.space, value, sd, len(generated) // splits, 0, splits, seed)
