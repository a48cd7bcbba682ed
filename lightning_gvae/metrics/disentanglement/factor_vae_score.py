"""FactorVAE score: while one factor is fixed, the latent that varies least should give it away."""

import math
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
    pool: int | None = None,
) -> FactorVAEScore:
    r"""Accuracy of the majority-vote classifier from the least varying latent to the fixed factor.

    A vote fixes a random factor to a random value in a batch of images and names the latent
    :math:`\arg\min_j \mathrm{Var}_{batch}(z_j) / \mathrm{Var}(z_j)`. Chance is 1 / F. Without an active latent the
    score is 0. Scales and signs of latents do not matter, but for ``threshold``.

    Cost: ``batch * (train + test)`` images are drawn; equal ones are encoded once (540,000 for dSprites). With ``pool``
    they are drawn from that many images, themselves drawn at random, and only those are encoded: with thousands of
    images a value of a factor the variances of batches of 64 are the same but for noise far below that of the votes.

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
        pool: Images to draw from, at least 64 for every value of a factor; None, the reference, draws from all.

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

    if pool is not None and pool < math.prod(sizes):
        if checked_count("pool", pool) < (least := 64 * max(sizes)):
            raise ConfigError(f"`pool` must hold 64 images for each of {max(sizes)} values, {least} in all, got {pool}")
        images = numpy_stream(seed, "factor_vae_pool").choice(math.prod(sizes), pool, replace=False)
        classes = np.stack(np.unravel_index(np.sort(images), sizes), axis=1)
        codes, places = encode_once(encode, classes, sizes, encode_batch)
        whole = numpy_stream(seed, "factor_vae_variance").integers(0, pool, size=variance_samples)
        fixed, drawn = _draw_from(numpy_stream(seed, "factor_vae_votes"), classes, train + test, batch)
        rows = places[np.concatenate([whole, drawn.ravel()])]
    else:
        factors = draw_factors(numpy_stream(seed, "factor_vae_variance"), sizes, (variance_samples,))
        fixed, voting = _draw_votes(numpy_stream(seed, "factor_vae_votes"), sizes, train + test, batch)
        both = np.concatenate([factors, voting.reshape(-1, len(sizes))])
        codes, rows = encode_once(encode, both, sizes, encode_batch)
    variance = codes[rows[:variance_samples]].var(0, ddof=1)
    active = np.flatnonzero((np.sqrt(variance) >= threshold) & (variance > 0))
    votes = np.zeros((2, len(sizes), codes.shape[1]), dtype=np.int64)
    if not len(active):
        return FactorVAEScore(0.0, 0.0, votes[0], ())
    # One latent at a time: the drawn codes as a whole would take 77 MB for dSprites and 10 latents.
    batches = rows[variance_samples:].reshape(-1, batch)
    ratios = np.stack([codes[:, j][batches].var(1, ddof=1) / variance[j] for j in active])
    named = active[ratios.argmin(0)]
    for part, vote in zip(votes, (slice(train), slice(train, None)), strict=True):
        np.add.at(part, (fixed[vote], named[vote]), 1)
    classifier = votes[0].argmax(0)
    accuracies = [part[classifier, np.arange(part.shape[1])].sum() / part.sum() for part in votes]
    return FactorVAEScore(float(accuracies[1]), float(accuracies[0]), votes[0], tuple(active.tolist()))


def _draw_votes(generator: np.random.Generator, sizes: tuple[int, ...], votes: int, batch: int) -> tuple[Ints, Ints]:
    """Factors that the votes fix ``(V,)``, and the factor classes ``(V, batch, F)`` of their images."""
    fixed = generator.integers(0, len(sizes), size=votes)
    factors = draw_factors(generator, sizes, (votes, batch))
    vote = np.arange(votes)
    factors[vote, :, fixed] = factors[vote, 0, fixed][:, None]
    return fixed, factors


def _draw_from(generator: np.random.Generator, pool: Ints, votes: int, batch: int) -> tuple[Ints, Ints]:
    """As :func:`_draw_votes`, from images with factor classes ``pool`` ``(P, F)``; rows of it ``(V, batch)``."""
    fixed = generator.integers(0, pool.shape[1], size=votes)
    first = generator.integers(0, len(pool), size=votes)
    numbers = generator.random((votes, batch))
    drawn = np.empty((votes, batch), dtype=np.int64)
    for factor in range(pool.shape[1]):
        vote = np.flatnonzero(fixed == factor)
        order = np.argsort(pool[:, factor], kind="stable")
        ordered, value = pool[order, factor], pool[first[vote], factor]
        start, end = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
        drawn[vote] = order[(start[:, None] + numbers[vote] * (end - start)[:, None]).astype(np.int64)]
    return fixed, drawn
