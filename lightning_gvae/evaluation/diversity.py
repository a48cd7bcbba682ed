"""Scores of diversity, each with its feature space, number of samples and seed in the name."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from lightning_gvae.errors import ScoreUnavailable
from lightning_gvae.evaluation.feature_cache import features_of, real_features, space_of
from lightning_gvae.evaluation.requirements import needs_sampler
from lightning_gvae.evaluation.results import Fact, Measured, Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.diversity.classes import class_diversity
from lightning_gvae.metrics.diversity.memory import duplicate_rate, memorisation
from lightning_gvae.metrics.diversity.pure import pure_diversity
from lightning_gvae.metrics.diversity.vendi import vendi_features
from lightning_gvae.metrics.fidelity.features import Features, extract_features
from lightning_gvae.rng import numpy_stream

__all__ = ["diversity_pieces"]

MOST_PURE = 500  # samples of pure diversity, whose cost grows with their square, and which grows with their number
MOST_TYPICAL = 1000  # samples whose median distance is what the distance of duplicates is measured by
REAL = "real"


def diversity_pieces(name: str, subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """One piece for every feature space and sampler, named ``<score>/<space>/n<samples>-seed<seed>/<sampler>``.

    ``vendi`` of real test images stands beside it as the sampler ``real``.

    Args:
        name: A key of ``SCORES``.
        subject: Model and data.
        settings: Sizes, spaces and samplers.
    """
    for space in settings.feature_spaces:
        for sampler in (*settings.samplers, *((REAL,) if name == "vendi" else ())):
            compute = partial(_measure, SCORES[name], subject, settings, space, sampler)
            yield Piece(f"{name}/{space}/{sampler}", compute)


Found = Iterator[tuple[str, int, float]]


def _measure(score: "Score", subject: Subject, settings: ScoreSettings, space: str, sampler: str) -> Iterator[Measured]:
    if score is _class_diversity and space != "domain":
        raise ScoreUnavailable(
            f"it needs a classifier of the data's own classes, which the feature space {space} is not; take "
            "evaluation.feature_spaces=[domain]"
        )
    if sampler == REAL:
        made = real_features(subject, settings, space)
    else:
        needs_sampler(subject, sampler)
        made = features_of(subject, settings, space, sampler)
    for kind, count, value in score(made, subject, settings, space):
        facts: dict[str, Fact] = {"samples": count, "seed": settings.seed}
        facts |= {"feature_space": f"{space} ({made.space.dims} dimensions)", "fingerprint": made.space.fingerprint}
        yield Measured(f"{kind}/{space}/n{count}-seed{settings.seed}/{sampler}", value, facts)


def _vendi(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    for order in settings.orders:
        name = "vendi" if order == 1 else f"vendi_q{order:g}"
        yield name, len(made), vendi_features(made.values, order)


def _duplicates(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    """Repeats among as many samples as can be had: within a hundredth of the median distance of two of them."""
    some = made.values[:MOST_TYPICAL].double()
    typical = float(torch.cdist(some, some).median())
    yield "duplicates", len(made), duplicate_rate(made.values, typical / 100)


def _class_diversity(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    assert made.logits is not None
    found = class_diversity(made.logits, made.logits.shape[1])
    yield "class_coverage", len(made), found.coverage
    yield "class_entropy", len(made), found.entropy
    yield "class_imbalance", len(made), found.imbalance


def _pure_diversity(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    rows = made.values[:MOST_PURE].double()
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    yield "pure_diversity", len(rows), pure_diversity(distances)


def _memorisation(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    train = _train_features(subject, settings, space, None)
    held_out = real_features(subject, settings, space)
    found = memorisation(made.values, train.values, held_out.values)
    yield "memorised", len(made), found.near
    yield "copies", len(made), found.copies
    if not found.held_out_median:
        raise ScoreUnavailable("train_distance is a ratio to the distance of test images, and half of these are 0 away")
    yield "train_distance", len(made), found.median / found.held_out_median


def _fid_train(made: Features, subject: Subject, settings: ScoreSettings, space: str) -> Found:
    from lightning_gvae.metrics.fidelity.fid import fid

    train = _train_features(subject, settings, space, settings.samples)
    score = fid(made, train, resamples=settings.resamples)
    yield "fid_train", len(made), score.value


def _train_features(subject: Subject, settings: ScoreSettings, space: str, count: int | None) -> Features:
    """Features of training images, all or ``count`` of them, as they are in the data: weights do not count."""

    def extracted() -> Features:
        where = space_of(subject, settings, space)
        part = subject.data.train_set
        rows = np.arange(len(part))
        if count is not None and count < len(part):
            rows = np.sort(numpy_stream(settings.seed, "evaluation/train").permutation(len(part))[:count])
        return extract_features(where, (images for images, _ in subject.batches(part, rows)))

    return subject.once(("train features", space, count), extracted)


Score = Callable[[Features, Subject, ScoreSettings, str], Found]

SCORES: dict[str, Score] = {
    "vendi": _vendi,
    "duplicates": _duplicates,
    "class_diversity": _class_diversity,
    "pure_diversity": _pure_diversity,
    "memorisation": _memorisation,
    "fid_train": _fid_train,
}
