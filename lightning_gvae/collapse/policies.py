"""Training sets of the generations of a chain of models: real images, and samples of earlier models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_gvae.collapse.gaussian import POLICIES
from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.rng import numpy_stream

__all__ = ["Policy", "TrainingSet", "policies_of", "real_images_needed", "training_set"]

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Policy:
    """Rule by which real images and samples are mixed; :func:`training_set` explains the names.

    Args:
        name: One of ``replace``, ``accumulate``, ``accumulate_subsample``, ``augment``, ``fresh``.
        fresh: Share of new real images a generation, above 0 and at most 1; for ``fresh`` alone.

    Raises:
        ConfigError: The name is unknown, or the share is out of range or belongs to no ``fresh``.
    """

    name: str
    fresh: float | None = None

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise ConfigError(f"`policy` must be one of {', '.join(POLICIES)}, got {self.name!r}.")
        if self.name != "fresh" and self.fresh is not None:
            raise ConfigError(f"`fresh` belongs to policy='fresh', got fresh={self.fresh} with policy={self.name!r}.")
        if self.name == "fresh" and not (self.fresh is not None and math.isfinite(self.fresh) and 0 < self.fresh <= 1):
            raise ConfigError(
                f"`fresh` must be the share of new real images, above 0 and at most 1, got {self.fresh}; without "
                "new ones "
                "the policy is replace."
            )

    @property
    def label(self) -> str:
        """Name in tables and folders, with the share."""
        return self.name if self.fresh is None else f"fresh-{self.fresh:g}"

    def new_images(self, samples: int) -> int:
        """New real images a generation, of ``samples`` in all."""
        return 0 if self.fresh is None else max(1, round(self.fresh * samples))


class TrainingSet(NamedTuple):
    """Training set of a generation.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        real_share: Share of real images, 0 to 1.
    """

    images: Images
    real_share: float


def policies_of(names: str | Sequence[str], fresh: float | Sequence[float] | None) -> list[Policy]:
    """Policies by name; ``fresh`` stands for one policy a share.

    >>> [policy.label for policy in policies_of(["replace", "fresh"], [0.1, 0.5])]
    ['replace', 'fresh-0.1', 'fresh-0.5']

    Raises:
        ConfigError: There is none, one is there twice, or as for :class:`Policy`.
    """
    names = [names] if isinstance(names, str) else list(names)
    shares = [fresh] if fresh is None or isinstance(fresh, int | float) else list(fresh)
    found = [Policy(name, share) for name in names for share in (shares if name == "fresh" else [None])]
    if not found or len(set(found)) != len(found):
        raise ConfigError(f"`policy` must name at least one policy, each once, got {names} with fresh={fresh}.")
    return found


def real_images_needed(policy: Policy, train_images: int, samples: int, generations: int) -> int:
    """Real images that a chain uses: those of generation 0, and new ones for each later generation under ``fresh``."""
    return train_images + policy.new_images(samples) * (generations - 1)


def training_set(
    policy: Policy,
    generation: int,
    real: Images,
    train_images: int,
    samples: int,
    drawn: Callable[[int], Images],
    seed: int,
) -> TrainingSet:
    """Training set of generation g.

    Generation 0 gets the first N real images. Later ones, with M samples of each model before them: ``replace``: those
    of the last model; ``accumulate``: the N real images and all samples so far; ``accumulate_subsample``: M of those,
    drawn anew without replacement; ``augment``: the N real images and the last model's samples; ``fresh``: a share of M
    new real images, never used before, and samples of the last model for the rest.

    Args:
        policy: How.
        generation: g, at least 0.
        real: All real images, in the order in which they are used.
        train_images: N.
        samples: M.
        drawn: Gives the samples of an earlier generation.
        seed: Of the draws of ``accumulate_subsample``.

    Raises:
        ConfigError: A count is out of range, or there are too few real images.

    References:
        Shumailov et al., AI Models Collapse when Trained on Recursively Generated Data, 2024 (replace). Gerstgrasser et
        al., Is Model Collapse Inevitable?, 2024 (accumulate). Alemohammad et al., Self-Consuming Generative Models Go
        MAD, 2024 (augment, fresh).
    """
    checked_count("generation", generation, least=0)
    needed = real_images_needed(policy, train_images, samples, generation + 1)
    if needed > len(real):
        raise ConfigError(
            f"generation {generation} under {policy.label} needs {needed} real images, there are {len(real)}; lower "
            "`train_images`, `generations` or `fresh`."
        )
    first = real[:train_images]
    if generation == 0:
        return TrainingSet(first, 1.0)
    if policy.name == "replace":
        return TrainingSet(drawn(generation - 1), 0.0)
    if policy.name == "augment":
        return _mixed(first, drawn(generation - 1))
    if policy.name == "fresh":
        new = policy.new_images(samples)
        start = train_images + (generation - 1) * new
        return _mixed(real[start : start + new], drawn(generation - 1)[: samples - new])
    earlier = [drawn(number) for number in range(generation)]
    if policy.name == "accumulate":
        return _mixed(first, *earlier)
    pool = np.concatenate([first, *earlier])
    stream = numpy_stream(seed, "collapse/subsample", generation)
    chosen = np.sort(stream.permutation(len(pool))[:samples])
    return TrainingSet(pool[chosen], float((chosen < train_images).mean()))


def _mixed(real: Images, *samples: Images) -> TrainingSet:
    images = np.concatenate([real, *samples])
    return TrainingSet(images, len(real) / len(images))
