"""Features of real and generated images, computed once for all scores of a subject."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.interfaces import DataModule
from lightning_gvae.metrics.fidelity.domain import DomainSettings, DomainSpace, LabelledImages, domain_space
from lightning_gvae.metrics.fidelity.feature_spaces import feature_space
from lightning_gvae.metrics.fidelity.features import Features, FeatureSpace, extract_features
from lightning_gvae.rng import numpy_stream

__all__ = ["domain_of", "features_of", "real_features", "space_of"]

DOMAIN_IMAGES = 60_000  # at most, to train the classifier of the space ``domain``


def features_of(subject: Subject, settings: ScoreSettings, space: str, sampler: str) -> Features:
    """Features of generated images.

    Args:
        subject: Model and data.
        settings: Number of images, seed, weights and cache.
        space: Name of the feature space.
        sampler: Name of the sampler.

    Raises:
        ConfigError: There is no such space, or ``domain`` is asked for and the data have no labels.
        DataError: The weights of the space are not there.
    """

    def extracted() -> Features:
        return extract_features(space_of(subject, settings, space), subject.samples(settings.samples, sampler))

    return subject.once(("features", space, sampler), extracted)


def real_features(real: RealData, settings: ScoreSettings, space: str) -> Features:
    """Features of real test images; errors are those of :func:`features_of`."""

    def extracted() -> Features:
        images, _ = real.images(real.data.test_set, settings.samples, "real")
        return extract_features(space_of(real, settings, space), images)

    return real.once(("features", space, None), extracted)


def space_of(real: RealData, settings: ScoreSettings, name: str) -> FeatureSpace:
    """The feature space of that name, made at the first call; errors are those of :func:`features_of`."""
    return real.once(("space", name), lambda: _space(real, settings, name))


def _space(real: RealData, settings: ScoreSettings, name: str) -> FeatureSpace:
    if name == "domain":
        cache = None if settings.cache_dir is None else Path(settings.cache_dir)
        return domain_of(real, cache, settings.seed)
    return feature_space(name, weights=settings.weights, device=real.device)


def domain_of(real: RealData, cache_dir: Path | None, seed: int = 0) -> DomainSpace:
    """Space ``domain`` of data: a classifier of its labelled images, trained or read from the cache.

    Args:
        real: The data, and where the classifier runs.
        cache_dir: Folder of the caches; None keeps nothing.
        seed: Of its weights and its training images, not that of the run: all runs of a study share one classifier.

    Raises:
        ConfigError: The data have no labels.
    """
    if real.spec.num_classes is None:
        raise ConfigError(
            f"the feature space domain is a classifier of labelled images, and {real.spec.name} has no labels; take"
            " evaluation.feature_spaces=[efficientnet_lite0] or [inception]"
        )
    train = LabelledImages(*_not_for_testing(real.data, seed))
    test = LabelledImages(*real.images(real.data.test_set, None, "domain"))
    settings = DomainSettings(seed=seed)
    return domain_space(real.spec.name, train, test, cache_dir=cache_dir, settings=settings, device=real.device)


def _not_for_testing(data: DataModule, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images and targets that are not the test part's: the same ones whatever the seed took out for validation.

    Else every seed of a study would have a feature space of its own, and scores of two seeds would not compare.
    """
    source = data.train_set.source
    splits = [split for split in (data.train_set, data.val_set) if split.source is source]
    indices = np.sort(np.concatenate([split.indices for split in splits]))
    if len(indices) > DOMAIN_IMAGES:
        indices = np.sort(numpy_stream(seed, "evaluation/domain").choice(indices, DOMAIN_IMAGES, replace=False))
    batches = [source.batch(indices[start : start + 4096]) for start in range(0, len(indices), 4096)]
    images, targets = zip(*batches, strict=True)
    return torch.cat(images).cpu().numpy(), torch.cat(targets).cpu().numpy()
