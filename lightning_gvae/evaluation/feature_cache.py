"""Features of real and generated images, computed once for all scores of a subject."""

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.fidelity.domain import LabelledImages, domain_space
from lightning_gvae.metrics.fidelity.feature_spaces import feature_space
from lightning_gvae.metrics.fidelity.features import Features, FeatureSpace, extract_features

__all__ = ["features_of"]

DOMAIN_IMAGES = 60_000  # at most, to train the classifier of the space ``domain``

_spaces: "WeakKeyDictionary[Subject, dict[str, FeatureSpace]]" = WeakKeyDictionary()
_features: "WeakKeyDictionary[Subject, dict[tuple[str, str | None], Features]]" = WeakKeyDictionary()


def features_of(subject: Subject, settings: Any, space: str, sampler: str | None) -> Features:
    """Features of generated images, or of real test images if ``sampler`` is None.

    Args:
        subject: Model and data.
        settings: The :class:`~lightning_gvae.evaluation.suite.Suite`.
        space: Name of the feature space.
        sampler: Name of the sampler.

    Raises:
        ConfigError: There is no such space, or ``domain`` is asked for and the data have no labels.
        DataError: The weights of the space are not there.
    """
    known = _features.setdefault(subject, {})
    if (space, sampler) not in known:
        where = _space(subject, settings, space)
        if sampler is None:
            images, _ = subject.images(subject.data.test_set, settings.samples, "real")
            known[space, sampler] = extract_features(where, images)
        else:
            known[space, sampler] = extract_features(where, subject.samples(settings.samples, sampler))
    return known[space, sampler]


def _space(subject: Subject, settings: Any, name: str) -> FeatureSpace:
    known = _spaces.setdefault(subject, {})
    if name not in known:
        device = subject.model.device
        if name == "domain":
            known[name] = _domain(subject, settings, device)
        else:
            known[name] = feature_space(name, weights=settings.weights, device=device)
    return known[name]


def _domain(subject: Subject, settings: Any, device: Any) -> FeatureSpace:
    if subject.spec.num_classes is None:
        raise ConfigError(
            f"the feature space domain is a classifier of labelled images, and {subject.spec.name} has no labels; take"
            " evaluation.feature_spaces=[efficientnet_lite0] or [inception]"
        )
    train = LabelledImages(*subject.images(subject.data.train_set, DOMAIN_IMAGES, "domain"))
    test = LabelledImages(*subject.images(subject.data.test_set, None, "domain"))
    cache = None if settings.cache_dir is None else Path(settings.cache_dir)
    return domain_space(subject.spec.name, train, test, cache_dir=cache, device=device)
