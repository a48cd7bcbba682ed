"""FID, KID, inception score, precision, recall, density and coverage of generated images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features, SpaceId, require_same_space
from lightning_gvae.metrics.fidelity.neighbours import density_and_coverage
from lightning_gvae.metrics.fidelity.statistics import Moments, moments_of
from lightning_gvae.rng import numpy_stream

__all__ = ["SEED", "Score", "density_coverage", "fid", "inception_score", "kid", "precision_recall"]

SEED = 2020  # the reference implementation's own: the same images give the same KID and inception score


@dataclass(frozen=True)
class Score:
    """A score and everything that must be said with it.

    Args:
        name: Score and feature space, for example ``"fid/domain"``.
        value: Mean over the resamples.
        sd: Standard deviation over the resamples (divided by their number); None if there was one.
        samples: Generated images each resample used.
        references: Real images each resample was compared with; 0 if it needs none.
        resamples: How many.
        seed: Of the resamples.
        feature_space: Name of the space.
        fingerprint: Hash of its weights.
        accuracy: Test accuracy of the space's classifier, if it was trained on the data set itself.
    """

    name: str
    value: float
    sd: float | None
    samples: int
    references: int
    resamples: int
    seed: int
    feature_space: str
    fingerprint: str
    accuracy: float | None = None

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.2g}"
        accuracy = "" if self.accuracy is None else f", classifier accuracy {self.accuracy:.2%}"
        against = f" against {self.references}" if self.references else ""
        return f"{self.name} {self.value:.4g}{spread} ({self.samples} samples{against}{accuracy})"


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
        return _score("fid", generated.space, [_frechet(generated, target)], generated.count, target.count, seed)
    size = _subset_size(len(generated), resamples, size)
    values = [_frechet(moments_of(part), target) for part in _subsets(generated, "generated", resamples, size, seed)]
    return _score("fid", generated.space, values, size, target.count, seed)


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
    return _record("kid", generated.space, value, sd, size, size, subsets, seed)


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
    return _record("is", generated.space, value, sd, len(generated) // splits, 0, splits, seed)


def precision_recall(
    generated: Features,
    real: Features,
    *,
    neighbours: int = 3,
    resamples: int = 1,
    size: int | None = None,
    seed: int = SEED,
) -> tuple[Score, Score]:
    """Share of generated images in the real manifold, and share of real images in the generated one; 0 to 1.

    A manifold is the union of balls around its images that reach to their k-th neighbour: a single outlier makes a big
    ball, so precision errs on the high side.

    Args:
        generated: Features of generated images.
        real: Features of real images, best as many.
        neighbours: k.
        resamples: Pairs of subsets.
        size: Images in a subset of either set, drawn without replacement; None is all of them, or half of the smaller
            set with several resamples.
        seed: Of the draws.

    Raises:
        ConfigError: Too few images for ``neighbours``, the sets lie in two spaces, or a setting is out of range.

    References:
        Kynkäänniemi, Karras, Laine, Lehtinen, Aila, Improved precision and recall metric, 2019.
    """

    def both(first: Features, second: Features) -> tuple[float, float]:
        found = prc_features_to_metric(
            first.values,
            second.values,
            prc_neighborhood=neighbours,
            prc_batch_size=1000,  # the default of 10 000 takes gigabytes
            save_cpu_ram=True,
            verbose=False,
        )
        return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]

    return _pair(("precision", "recall"), both, generated, real, neighbours, resamples, size, seed)


def density_coverage(
    generated: Features,
    real: Features,
    *,
    neighbours: int = 5,
    resamples: int = 1,
    size: int | None = None,
    seed: int = SEED,
) -> tuple[Score, Score]:
    """How densely generated images lie among the real ones (0 or more), and the share of real images they reach.

    Args:
        generated: Features of generated images.
        real: Features of real images, best as many.
        neighbours: k.
        resamples: As for :func:`precision_recall`.
        size: As for :func:`precision_recall`.
        seed: Of the draws.

    Raises:
        ConfigError: As for :func:`precision_recall`.

    References:
        Naeem, Oh, Uh, Choi, Yoo, Reliable fidelity and diversity metrics for generative models, 2020.
    """

    def both(first: Features, second: Features) -> tuple[float, float]:
        return density_and_coverage(first.values, second.values, neighbours)

    return _pair(("density", "coverage"), both, generated, real, neighbours, resamples, size, seed)


def _frechet(first: Moments, second: Moments) -> float:
    pair = [{"mu": moments.mean, "sigma": moments.covariance} for moments in (first, second)]
    return float(fid_statistics_to_metric(*pair, verbose=False)[KEY_METRIC_FID])


def _pair(
    names: tuple[str, str],
    both: Callable[[Features, Features], tuple[float, float]],
    generated: Features,
    real: Features,
    neighbours: int,
    resamples: int,
    size: int | None,
    seed: int,
) -> tuple[Score, Score]:
    require_same_space(generated.space, real.space)
    smaller = min(len(generated), len(real))
    if size is None and resamples == 1:
        sizes = len(generated), len(real)
    else:
        sizes = (_subset_size(smaller, resamples, size),) * 2
    if not 1 <= neighbours < min(sizes):
        raise ConfigError(
            f"`neighbours` must be in 1..{min(sizes) - 1}, below the number of images, got {neighbours}; take more images"
        )
    firsts = _subsets(generated, "generated", resamples, sizes[0], seed)
    seconds = _subsets(real, "real", resamples, sizes[1], seed)
    found = [both(first, second) for first, second in zip(firsts, seconds, strict=True)]
    first, second = zip(*found, strict=True)
    return (
        _score(names[0], generated.space, list(first), *sizes, seed),
        _score(names[1], generated.space, list(second), *sizes, seed),
    )


def _subset_size(total: int, resamples: int, size: int | None) -> int:
    if resamples < 1:
        raise ConfigError(f"`resamples` must be at least 1, got {resamples}")
    chosen = size if size is not None else total if resamples == 1 else total // 2
    if not 1 <= chosen <= total:
        raise ConfigError(f"`size` must be in 1..{total}, the number of images, got {chosen}")
    return chosen


def _subsets(features: Features, tag: str, resamples: int, size: int, seed: int) -> list[Features]:
    if size == len(features) and resamples == 1:
        return [features]
    streams = (numpy_stream(seed, f"fidelity/{tag}", index) for index in range(resamples))
    return [features.take(np.sort(stream.permutation(len(features))[:size])) for stream in streams]


def _score(kind: str, space: SpaceId, values: list[float], samples: int, references: int, seed: int) -> Score:
    sd = float(np.std(values)) if len(values) > 1 else None
    return _record(kind, space, float(np.mean(values)), sd, samples, references, len(values), seed)


def _record(
    kind: str, space: SpaceId, value: float, sd: float | None, samples: int, references: int, resamples: int, seed: int
) -> Score:
    return Score(
        f"{kind}/{space.name}",
        float(value),
        sd,
        samples,
        references,
        resamples,
        seed,
        space.name,
        space.fingerprint,
        space.accuracy,
    )
