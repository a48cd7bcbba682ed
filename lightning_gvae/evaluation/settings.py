"""Settings of all scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evaluation.own import OwnScore
from lightning_gvae.evaluation.subject import BASELINES
from lightning_gvae.metrics.diversity.effective import checked_order
from lightning_gvae.metrics.fidelity.feature_spaces import FEATURE_SPACES
from lightning_gvae.samplers import SAMPLERS

__all__ = ["ScoreSettings"]


@dataclass(frozen=True)
class ScoreSettings:
    """Sizes of the sets that scores are computed from, and the space in which images are compared.

    Args:
        samples: Generated images, and real test images at most, of a score of images.
        resamples: Subsets of them over which such a score is averaged.
        importance_samples: Draws an image of ``nll``, and a sentence of ``perplexity``.
        likelihood_images: Test images (sentences) of ``nll`` (``perplexity``).
        posteriors: Test images of ``aggregate_kl``, and images of the disentanglement scores but half as many to test.
        votes: Training points of ``beta_vae_score`` and ``factor_vae_score``; half as many to test.
        pool: Images that ``factor_vae_score`` draws from; None, the reference, draws from all.
        samplers: ``prior`` (the model's own), ``gmm``, ``flow``, ``reconstructions`` of test images, and as baselines
            ``mean_image`` (of the training set, again and again) and ``training_images``.
        feature_spaces: ``domain`` (a classifier trained on the labelled data), ``inception``, ``efficientnet_lite0``.
        orders: Orders q of ``vendi``.
        weights: File of weights of the feature space, if not its own; for a single space.
        cache_dir: Folder of the caches; None keeps nothing.
        seed: Seed of the subsets, of all draws and of the classifier ``domain``. It is not the seed of the training:
            runs with different seeds are scored on the same images in the same feature space.
        own: Scores of the user's own by name, see :class:`~lightning_gvae.evaluation.own.OwnScore`; ``metrics`` names
            them like the others.

    Raises:
        ConfigError: A count is below 1, the seed is negative, there is no such sampler or feature space, or an own
            score cannot be called.
    """

    samples: int = 10_000
    resamples: int = 5
    importance_samples: int = 100
    likelihood_images: int = 1000
    posteriors: int = 10_000
    votes: int = 10_000
    pool: int | None = 200_000
    samplers: Sequence[str] = ("prior",)
    feature_spaces: Sequence[str] = ("domain",)
    orders: Sequence[float] = (1.0,)
    weights: str | None = None
    cache_dir: str | Path | None = None
    seed: int = 0
    own: Mapping[str, OwnScore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = ("samples", "resamples", "importance_samples", "likelihood_images", "posteriors", "votes")
        for name in counts:
            checked_count(name, getattr(self, name))
        checked_count("seed", self.seed, least=0)
        for order in self.orders:
            checked_order(order)
        if wrong := [name for name, score in self.own.items() if not callable(score)]:
            raise ConfigError(
                f"`own.{wrong[0]}` must be something that can be called with model and data, got "
                f"{type(self.own[wrong[0]]).__name__}"
            )
        known = {"samplers": (*SAMPLERS, *BASELINES), "feature_spaces": ("domain", *FEATURE_SPACES)}
        for setting, names in known.items():
            if unknown := [name for name in getattr(self, setting) if name not in names]:
                raise ConfigError(f"`{setting}` may name {', '.join(names)}, got {', '.join(map(str, unknown))}")
