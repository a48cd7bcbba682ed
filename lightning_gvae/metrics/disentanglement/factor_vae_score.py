"""FactorVAE score: while one factor is fixed, the latent that varies least should give it away."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.disentanglement.checks import Ints, checked_count
from lightning_gvae.metrics.disentanglement.factor_grid import Encode, checked_grid, draw_factors, encode_once
from lightning_gvae.rng import numpy_stream

__all__ = ["FactorVAEScore", "factor_vae_score"]


@dataclass(frozen=True, eq=False)
class FactorVAEScore:
    """The score and what it was computed from.

    Args:
        score: Accuracy on the test votes, 0..1.
        train_accuracy: Accuracy on the votes that the classifier was made of, 0..1.
        votes: ``(F, L)``, training votes of each factor for each latent.
        active: Indices of the latents that took part.
    """

    score: float
    train_accuracy: float
    votes: Ints
    active: tuple[int, ...]


def factor_vae_score(
    encode: Encode,
    factor_sizes: Sequence[int],
    *,
    seed: int,
    batch: int = 64,
    train: int = 10_000,
    test: int = 5000,
    variance_samples: int = 10_000,
    threshold: float = 0.05,
    encode_batch: int = 4096,
    num_images: int | None = None,
) -> FactorVAEScore:
    r"""Accuracy of the majority-vote classifier from the least varying latent to the fixed factor.

    A vote fixes a random factor to a random value in a batch of images and names the latent
    :math:`\arg\min_j \mathrm{Var}_{batch}(z_j) / \mathrm{Var}(z_j)`. Chance is 1 / F. Without an active latent the
    score is 0. Scales and signs of latents do not matter, but for ``threshold``.

    Cost: ``batch * (train + test)`` images are drawn; equal ones are encoded once (540,000 for dSprites).

    Args:
        encode: Factor classes ``(B, F)`` to codes ``(B, L)``, deterministic.
        factor_sizes: Number of values of each of the F factors.
        seed: Seed of the draws.
        batch: Images a vote, at least 2.
        train: Votes the classifier is made of.
        test: Votes it is tested on.
        variance_samples: Images for the variances over the whole set.
        threshold: Latents whose standard deviation over the set is below take no part.
        encode_batch: Images a call of ``encode``.
        num_images: Images in the data set, if known: checked against ``factor_sizes``.

    Raises:
        ConfigError: The data set is not the full grid of its factors, or a setting is out of range.
        DataError: The encoder returns something else than a finite row for each image.

    References:
        Kim and Mnih, Disentangling by Factorising, 2018, section 4; settings of Locatello et al., 2019.
    """
    sizes = checked_grid(factor_sizes, num_images)
    for name, value in (("batch", batch), ("variance_samples", variance_samples)):
        checked_count(name, value, least=2)
    for name, value in (("train", train), ("test", test)):
        checked_count(name, value)
    if not threshold >= 0:
        raise ConfigError(f"`threshold` must be a standard deviation of 0 or more, got {threshold}")

    whole = draw_factors(numpy_stream(seed, "factor_vae_variance"), sizes, (variance_samples,))
    fixed, factors = _draw_votes(numpy_stream(seed, "factor_vae_votes"), sizes, train + test, batch)
    codes, rows = encode_once(encode, np.concatenate([whole, factors.reshape(-1, len(sizes))]), sizes, encode_batch)
    variance = codes[rows[:variance_samples]].var(0, ddof=1)
    active = np.flatnonzero((np.sqrt(variance) >= threshold) & (variance > 0))
    votes = np.zeros((2, len(sizes), codes.shape[1]), dtype=np.int64)
    if not len(active):
        return FactorVAEScore(0.0, 0.0, votes[0], ())
    # One latent at a time: the drawn codes as a whole would take 77 MB for dSprites and 10 latents.
    drawn = rows[variance_samples:].reshape(-1, batch)
    ratios = np.stack([codes[:, j][drawn].var(1, ddof=1) / variance[j] for j in active])
    named = active[ratios.argmin(0)]
    for part, vote in zip(votes, (slice(train), slice(train, None)), strict=True):
        np.add.at(part, (fixed[vote], named[vote]), 1)
    classifier = votes[0].argmax(0)
    accuracies = [part[classifier, np.arange(part.shape[1])].sum() / part.sum() for part in votes]
    return FactorVAEScore(float(accuracies[1]), float(accuracies[0]), votes[0], tuple(active.tolist()))


def _draw_votes(generator: np.random.Generator, sizes: tuple[int, ...], votes: int, batch: int) -> tuple[Ints, Ints]:
    """Which factor each vote fixes ``(V,)``, and the factor classes ``(V, batch, F)`` of its images."""
    fixed = generator.integers(0, len(sizes), size=votes)
    factors = draw_factors(generator, sizes, (votes, batch))
    vote = np.arange(votes)
    factors[vote, :, fixed] = factors[vote, 0, fixed][:, None]
    return fixed, factors
