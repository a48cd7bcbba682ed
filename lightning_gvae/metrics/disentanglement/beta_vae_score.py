"""beta-VAE score: can a linear classifier tell which factor two images share, from how far apart their codes are?"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.disentanglement.checks import Floats, Ints, checked_count
from lightning_gvae.metrics.disentanglement.factor_grid import Encode, checked_grid, draw_factors, encode_once
from lightning_gvae.rng import numpy_stream

__all__ = ["beta_vae_score"]

CHUNK = 256  # points at a time: 16,384 pairs


def beta_vae_score(
    encode: Encode,
    factor_sizes: Sequence[int],
    *,
    seed: int,
    batch: int = 64,
    train: int = 10_000,
    test: int = 5000,
    encode_batch: int = 4096,
    num_images: int | None = None,
) -> float:
    r"""Test accuracy, 0..1, of a logistic regression from mean absolute differences of codes to the shared factor.

    A point is :math:`\frac{1}{B} \sum_b |z(x_b) - z(x'_b)|` over ``batch`` pairs of images that share the value of one
    random factor. Chance is 1 / F. The regression is L2 penalised with C = 1 on unscaled features, so that the scale of
    the codes matters: latents far below a standard deviation of 1 count for less.

    Args:
        encode: Factor classes ``(B, F)`` to codes ``(B, L)``, deterministic.
        factor_sizes: Number of values of each of the F factors, at least 2 factors.
        seed: Seed of the draws.
        batch: Pairs a point.
        train: Points the classifier is fitted to.
        test: Points it is tested on.
        encode_batch: Images a call of ``encode``; equal images are encoded once.
        num_images: Images in the data set, if known: checked against ``factor_sizes``.

    Raises:
        ConfigError: The data set is not the full grid of its factors, or a setting is out of range.
        DataError: The encoder returns something else than a finite row for each image.

    References:
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, 2017,
        section 3; settings of Locatello et al., 2019.
    """
    sizes = checked_grid(factor_sizes, num_images)
    if len(sizes) < 2:
        raise ConfigError(f"the score tells factors apart and needs at least 2, got {len(sizes)}; leave it out")
    checked_count("batch", batch)
    checked_count("train", train, least=10 * len(sizes))  # below, a factor may not be drawn at all
    checked_count("test", test)
    shared, factors = _draw_pairs(numpy_stream(seed, "beta_vae_pairs"), sizes, train + test, batch)
    codes, rows = encode_once(encode, factors, sizes, encode_batch)
    points = _distances(codes, rows)
    classifier = LogisticRegression(max_iter=1000)  # the default 100 steps do not always converge
    classifier.fit(points[:train], shared[:train])
    return float((classifier.predict(points[train:]) == shared[train:]).mean())


def _draw_pairs(generator: np.random.Generator, sizes: tuple[int, ...], points: int, batch: int) -> tuple[Ints, Ints]:
    """Factors that the pairs of a point share ``(P,)``, and the factor classes ``(P, 2, batch, F)``."""
    shared = generator.integers(0, len(sizes), size=points)
    factors = draw_factors(generator, sizes, (points, 2, batch))
    point = np.arange(points)
    factors[point, 1, :, shared] = factors[point, 0, :, shared]
    return shared, factors


def _distances(codes: Floats, rows: np.ndarray) -> Floats:
    """Mean absolute difference ``(P, L)`` over the pairs ``rows`` ``(P, 2, B)`` of ``codes`` ``(U, L)``."""
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    return np.concatenate([np.abs(codes[chunk[:, 0]] - codes[chunk[:, 1]]).mean(1) for chunk in chunks])
