"""Codes with a known relation to the factors of dSprites, for the tests of the disentanglement scores."""

import numpy as np

from lightning_gvae.rng import numpy_stream

SIZES = (3, 6, 40, 32, 32)


def factors(count, seed=0, sizes=SIZES):
    return numpy_stream(seed, "factors").integers(0, sizes, size=(count, len(sizes)))


def axis_aligned(classes, noise=0.0, latents=None, seed=0, sizes=SIZES):
    """Latent k is factor k, spread over -2..2; further latents are noise alone. ``noise`` in shares of the range."""
    draws = numpy_stream(seed, "codes").normal(size=(len(classes), latents or len(sizes)))
    codes = 4 * noise * draws
    codes[:, : len(sizes)] += 4 * classes / (np.array(sizes) - 1) - 2
    return codes


def rotation(size, seed=0):
    return np.linalg.qr(numpy_stream(seed, "rotation").normal(size=(size, size)))[0]


def hashed(classes, latents, seed=0):
    """Deterministic noise in -1..1: a code that knows every image and no factor."""
    weights = numpy_stream(seed, "hash").uniform(10, 100, size=(classes.shape[1], latents))
    return 2 * np.modf(np.abs(np.sin(classes @ weights) * 43758.5453))[0] - 1
