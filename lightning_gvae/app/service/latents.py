"""Walks through latent space: one dimension at a time, and from one point to another."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.checks import HIGHEST_SEED, number_between, whole_number
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.app.service.reconstruction import real_images
from lightning_gvae.app.service.sampling import Latents, noise
from lightning_gvae.errors import ConfigError

__all__ = ["PATHS", "REACH", "STARTS", "interpolate", "move", "slerp", "start", "traverse", "useful_dims"]

REACH = 3.0  # of a slider, in standard deviations of the prior
STARTS = ("random", "test image")
PATHS = ("straight", "arc")
MOST_STEPS = 30


def useful_dims(opened: Opened, most: int) -> list[tuple[int, float]]:
    """Dimensions that carry most, ``(number, mean KL in nats)``, by descending KL; of a GAN the first ones with NaN.

    Raises:
        DataError: The training images, whose KL is meant, cannot be read.
    """
    if not opened.has_encoder:
        return [(number, float("nan")) for number in range(min(most, opened.latent_dim))]
    found = opened.posteriors()
    kl = 0.5 * (found.means.double().square() + found.log_vars.double().exp() - 1 - found.log_vars.double()).mean(0)
    order = np.argsort(-kl.numpy(), kind="stable")[:most]
    return [(int(number), float(kl[number])) for number in order]


def start(opened: Opened, kind: str, number: object) -> Latents:
    """A point to start from, ``(Z,)``.

    Args:
        opened: The model.
        kind: ``random``: a draw from the prior. ``test image``: the posterior mean of one.
        number: Seed that chooses it.

    Raises:
        ConfigError: The kind is unknown, the number out of range, or images are asked for of a model without encoder.
    """
    if kind not in STARTS:
        raise ConfigError(f"the start must be one of {', '.join(STARTS)}, got {kind!r}.")
    key = whole_number("The number of the start", number, 0, HIGHEST_SEED)
    if kind == "random":
        return opened.prior_latents(noise(key, 1, opened.latent_dim))[0]
    opened.encoder()
    return opened.encode(real_images(opened, 1, key))[0][0]


def move(opened: Opened, base: Latents, values: Mapping[int, object]) -> npt.NDArray[np.uint8]:
    """Image uint8 ``(C, H, W)`` of ``base (Z,)`` with some dimensions set to ``values``, each within 3 of zero.

    Raises:
        ConfigError: A dimension does not exist or a value is out of range.
    """
    moved = base.copy()
    for dim, value in values.items():
        if not 0 <= dim < len(base):
            raise ConfigError(f"the model has latents z0 to z{len(base) - 1}, got z{dim}.")
        moved[dim] = number_between(f"z{dim}", value, -REACH, REACH)
    return opened.decode(moved[None])[0]


def traverse(opened: Opened, base: Latents, dims: Sequence[int], values: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Images ``(D, V, C, H, W)``: each of D dimensions takes each of V values, the others stay at ``base (Z,)``."""
    points = np.repeat(base[None, None], len(dims), axis=0).repeat(len(values), axis=1)
    for row, dim in enumerate(dims):
        points[row, :, dim] = values
    return opened.decode(points.reshape(-1, len(base))).reshape(len(dims), len(values), *opened.image_shape)


def interpolate(
    opened: Opened, first: Latents, last: Latents, steps: object, path: str = "arc"
) -> npt.NDArray[np.uint8]:
    """Images ``(N, C, H, W)`` on the way from ``first`` to ``last``, both of them included.

    Args:
        opened: The model.
        first: ``(Z,)``.
        last: ``(Z,)``.
        steps: N, 2 to 30.
        path: ``straight``, or ``arc`` (:func:`slerp`), which keeps the distance from the origin typical of the prior.

    Raises:
        ConfigError: The path is unknown or the number out of range.
    """
    if path not in PATHS:
        raise ConfigError(f"the path must be one of {', '.join(PATHS)}, got {path!r}.")
    count = whole_number("The number of steps", steps, 2, MOST_STEPS)
    weights = np.linspace(0, 1, count)[:, None]
    points = slerp(first, last, weights) if path == "arc" else (1 - weights) * first + weights * last
    return opened.decode(points.astype(np.float32))


def slerp(first: npt.ArrayLike, last: npt.ArrayLike, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    r"""Points on the arc between two vectors ``(Z,)``, for weights ``(N, 1)`` from 0 to 1.

    .. math:: \frac{\sin((1-t)\Omega)}{\sin\Omega} a + \frac{\sin(t\Omega)}{\sin\Omega} b

    with :math:`\Omega` the angle between them. Parallel and opposite vectors have no arc of their own: the way between
    them is straight.

    References:
        Shoemake, Animating Rotation with Quaternion Curves, 1985. White, Sampling Generative Networks, 2016.
    """
    a, b = np.asarray(first, np.float64), np.asarray(last, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / lengths, -1, 1)) if lengths > 0 else 0.0
    if np.sin(angle) < 1e-6:
        return (1 - weights) * a + weights * b
    return (np.sin((1 - weights) * angle) * a + np.sin(weights * angle) * b) / np.sin(angle)
