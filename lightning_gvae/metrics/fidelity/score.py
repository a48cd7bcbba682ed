"""A fidelity score with all that must be said with it, and the subsets that scores are averaged over."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.fidelity.features import Features, SpaceId, require_same_space
from lightning_gvae.rng import numpy_stream

__all__ = ["SEED", "Score", "make_score", "mean_score", "paired_scores", "subset_size", "subsets_of"]

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


def paired_scores(
    names: tuple[str, str],
    both: Callable[[Features, Features], tuple[float, float]],
    generated: Features,
    real: Features,
    neighbours: int,
    resamples: int,
    size: int | None,
    seed: int,
) -> tuple[Score, Score]:
    """Two scores of pairs of subsets, equally large ones if they are resampled.

    Args:
        names: Of the two scores.
        both: Generated and real features to the values of the two scores.
        generated: Features of generated images.
        real: Features of real images.
        neighbours: k of the nearest neighbours that ``both`` looks for.
        resamples: Pairs of subsets.
        size: Images in a subset of either set; None is all of them, or half of the smaller set with several resamples.
        seed: Of the draws.

    Raises:
        ConfigError: Too few images for ``neighbours``, the sets lie in two spaces, or a setting is out of range.
    """
    require_same_space(generated.space, real.space)
    smaller = min(len(generated), len(real))
    if size is None and resamples == 1:
        sizes = len(generated), len(real)
    else:
        sizes = (subset_size(smaller, resamples, size),) * 2
    if not 1 <= neighbours < min(sizes):
        raise ConfigError(
            f"`neighbours` must be in 1..{min(sizes) - 1}, below the number of images, got {neighbours}; take "
            "more images"
        )
    firsts = subsets_of(generated, "generated", resamples, sizes[0], seed)
    seconds = subsets_of(real, "real", resamples, sizes[1], seed)
    found = [both(first, second) for first, second in zip(firsts, seconds, strict=True)]
    first, second = zip(*found, strict=True)
    return (
        mean_score(names[0], generated.space, list(first), *sizes, seed),
        mean_score(names[1], generated.space, list(second), *sizes, seed),
    )


def subset_size(total: int, resamples: int, size: int | None) -> int:
    """Images in each of ``resamples`` subsets of ``total`` images: ``size``, or half of them, or all for a single one.

    Raises:
        ConfigError: ``resamples`` or ``size`` is out of range.
    """
    if resamples < 1:
        raise ConfigError(f"`resamples` must be at least 1, got {resamples}")
    chosen = size if size is not None else total if resamples == 1 else total // 2
    if not 1 <= chosen <= total:
        raise ConfigError(f"`size` must be in 1..{total}, the number of images, got {chosen}")
    return chosen


def subsets_of(features: Features, tag: str, resamples: int, size: int, seed: int) -> list[Features]:
    """Subsets of ``size`` images drawn without replacement by ``seed``; a single whole one as it is."""
    if size == len(features) and resamples == 1:
        return [features]
    streams = (numpy_stream(seed, f"fidelity/{tag}", index) for index in range(resamples))
    return [features.take(np.sort(stream.permutation(len(features))[:size])) for stream in streams]


def mean_score(kind: str, space: SpaceId, values: list[float], samples: int, references: int, seed: int) -> Score:
    """The score whose value and standard deviation are those of ``values``, one a resample."""
    sd = float(np.std(values)) if len(values) > 1 else None
    return make_score(kind, space, float(np.mean(values)), sd, samples, references, len(values), seed)


def make_score(
    kind: str, space: SpaceId, value: float, sd: float | None, samples: int, references: int, resamples: int, seed: int
) -> Score:
    """The score of a feature space, which its name and its facts say."""
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
