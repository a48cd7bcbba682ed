"""Scores of diversity, each with its feature space, number of samples and seed in the name."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.feature_cache import features_of, space_of
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.diversity.classes import class_diversity
from lightning_gvae.metrics.diversity.memory import duplicate_rate, memorisation
from lightning_gvae.metrics.diversity.pure import pure_diversity
from lightning_gvae.metrics.diversity.vendi import vendi_features
from lightning_gvae.metrics.fidelity.features import Features, extract_features
from lightning_gvae.rng import numpy_stream

__all__ = ["DIVERSITY", "NAMED", "diversity_scores"]

DIVERSITY = ("vendi", "duplicates", "class_diversity")
NAMED = ("pure_diversity", "memorisation", "fid_train")  # only when they are named: they need longer, or more images
MOST_PURE = 500  # samples of pure diversity, whose cost grows with their square, and which grows with their number

Scores = dict[str, float]


def diversity_scores(name: str, subject: Subject, settings: Any) -> Scores:
    """One score for every feature space and sampler, under ``<score>/<space>/n<samples>-seed<seed>/<sampler>``.

    ``vendi`` of real test images stands beside it as the sampler ``real``.

    Args:
        name: One of ``DIVERSITY`` and ``NAMED``.
        subject: Model and data.
        settings: The :class:`~lightning_gvae.evaluation.suite.Suite`.

    Raises:
        ConfigError: ``class_diversity`` is asked for in a feature space without classes of the data.
        DataError: As for the features.
    """
    score = SCORES[name]
    # Said before minutes are spent on features.
    if name == "class_diversity" and (other := [space for space in settings.feature_spaces if space != "domain"]):
        raise ConfigError(
            f"class_diversity needs a classifier of the data's own classes, which the feature space {other[0]} "
            "is not; take"
            " evaluation.feature_spaces=[domain], or leave it out"
        )
    found: Scores = {}
    for space in settings.feature_spaces:
        for sampler in settings.samplers:
            made = features_of(subject, settings, space, sampler)
            for kind, count, value in score(made, subject, settings, space):
                found[f"{kind}/{space}/n{count}-seed{settings.seed}/{sampler}"] = value
        if name == "vendi":
            real = features_of(subject, settings, space, None)
            for kind, count, value in _vendi(real, subject, settings, space):
                found[f"{kind}/{space}/n{count}-seed{settings.seed}/real"] = value
    return found


Found = Iterator[tuple[str, int, float]]


def _vendi(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    for order in settings.orders:
        name = "vendi" if order == 1 else f"vendi_q{order:g}"
        yield name, len(made), vendi_features(made.values, order)


def _duplicates(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    """Repeats among as many samples as can be had: within a hundredth of the median distance of two of them."""
    some = made.values[: min(1000, len(made))].double()
    typical = float(torch.cdist(some, some).median())
    yield "duplicates", len(made), duplicate_rate(made.values, typical / 100)


def _class_diversity(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    assert made.logits is not None
    found = class_diversity(made.logits, made.logits.shape[1])
    yield "class_coverage", len(made), found.coverage
    yield "class_entropy", len(made), found.entropy
    yield "class_imbalance", len(made), found.imbalance


def _pure_diversity(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    rows = made.values[:MOST_PURE].double()
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    yield "pure_diversity", len(rows), pure_diversity(distances)


def _memorisation(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    train = _train_features(subject, settings, space, None)
    held_out = features_of(subject, settings, space, None)
    found = memorisation(made.values, train.values, held_out.values)
    yield "memorised", len(made), found.near
    yield "copies", len(made), found.copies
    yield "train_distance", len(made), found.median / found.held_out_median


def _fid_train(made: Features, subject: Subject, settings: Any, space: str) -> Found:
    from lightning_gvae.metrics.fidelity.fid import fid

    train = _train_features(subject, settings, space, settings.samples)
    yield "fid_train", len(made), fid(made, train, resamples=settings.resamples).value


def _train_features(subject: Subject, settings: Any, space: str, count: int | None) -> Features:
    """Features of training images, all or ``count`` of them, as they are in the data: weights do not count."""

    def extracted() -> Features:
        where = space_of(subject, settings, space)
        part = subject.data.train_set
        rows = np.arange(len(part))
        if count is not None and count < len(part):
            rows = np.sort(numpy_stream(settings.seed, "evaluation/train").permutation(len(part))[:count])
        return extract_features(where, (images for images, _ in subject.batches(part, rows)))

    return subject.once(("train features", space, count), extracted)


SCORES: dict[str, Callable[[Features, Subject, Any, str], Found]] = {
    "vendi": _vendi,
    "duplicates": _duplicates,
    "class_diversity": _class_diversity,
    "pure_diversity": _pure_diversity,
    "memorisation": _memorisation,
    "fid_train": _fid_train,
}
