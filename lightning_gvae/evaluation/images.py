"""Scores of generated images, one for every feature space and sampler."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from lightning_gvae.evaluation.feature_cache import features_of, real_features
from lightning_gvae.evaluation.requirements import needs_sampler
from lightning_gvae.evaluation.results import Fact, Measured, Piece
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.metrics.fidelity.features import Features
from lightning_gvae.metrics.fidelity.score import Score

__all__ = ["image_pieces"]

PER_DIMENSION = 10  # images, below which a covariance is poorly known
MOST_KID = 1000  # images of a subset of KID


def image_pieces(name: str, subject: Subject, settings: ScoreSettings) -> Iterator[Piece]:
    """One piece for every feature space and sampler; features are computed once.

    Args:
        name: A key of ``SCORES``.
        subject: Model and data.
        settings: Sizes, spaces and samplers.
    """
    for space in settings.feature_spaces:
        for sampler in settings.samplers:
            compute = partial(_measure, SCORES[name], subject, settings, space, sampler)
            yield Piece(f"{name}/{space}/{sampler}", compute)


def _measure(
    compare: "Compare", subject: Subject, settings: ScoreSettings, space: str, sampler: str
) -> Iterator[Measured]:
    needs_sampler(subject, sampler)
    made = features_of(subject, settings, space, sampler)
    for score in compare(made, partial(real_features, subject, settings, space), settings):
        facts = {
            "samples": score.samples,
            "references": score.references or None,
            "part": "test" if score.references else None,
            "resamples": score.resamples,
            "seed": settings.seed,
            "resample_seed": score.seed if score.resamples > 1 else None,
            "feature_space": f"{score.feature_space} ({made.space.dims} dimensions)",
            "fingerprint": score.fingerprint,
            "classifier_accuracy": score.accuracy,
            "caution": _caution(score, made),
        }
        known: dict[str, Fact] = {fact: value for fact, value in facts.items() if value is not None}
        yield Measured(f"{score.name}/{sampler}", score.value, known)
        if score.sd is not None:
            yield Measured(f"{score.name}/{sampler}_sd", score.sd)


def _caution(score: Score, made: Features) -> str | None:
    """Caution for readers of a Fréchet distance, about its covariances."""
    least, dims = min(score.samples, score.references), made.space.dims
    if not score.name.startswith("fid/") or least >= PER_DIMENSION * dims:
        return None
    return f"{least} images for a covariance of {dims} dimensions: biased upwards, compare at this number only"


Real = Callable[[], Features]
Compare = Callable[[Features, Real, ScoreSettings], Sequence[Score]]


def _fid(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.fid import fid

    return (fid(made, real(), resamples=settings.resamples),)


def _kid(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.kid import kid

    return (kid(made, real(), size=min(MOST_KID, len(made), len(real()))),)


def _inception_score(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.inception_score import inception_score

    return (inception_score(made),)


def _precision_recall(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.precision_recall import precision_recall

    return precision_recall(made, real())


def _density_coverage(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.density_coverage import density_coverage

    return density_coverage(made, real())


def _class_balance(made: Features, real: Real, settings: ScoreSettings) -> Sequence[Score]:
    from lightning_gvae.metrics.fidelity.class_balance import class_balance

    return class_balance(made)


SCORES: dict[str, Compare] = {
    "fid": _fid,
    "kid": _kid,
    "is": _inception_score,
    "precision_recall": _precision_recall,
    "density_coverage": _density_coverage,
    "class_balance": _class_balance,
}
