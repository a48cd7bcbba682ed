"""Active divergence: leaving what a model was trained for, on purpose.

What the tools do stands in :mod:`lightning_gvae.divergence`; here are their inputs from a page, bounded and checked.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_gvae.app.service.checks import HIGHEST_SEED, number_between, whole_number
from lightning_gvae.app.service.latents import start
from lightning_gvae.app.service.opened import LabModel, Opened, as_bytes
from lightning_gvae.app.service.reconstruction import real_images
from lightning_gvae.divergence.blending import blended
from lightning_gvae.divergence.chaining import chain
from lightning_gvae.divergence.fine_tuning import between_classes, fine_tuned, novelty
from lightning_gvae.divergence.latents import amplified, direction, truncated_normal
from lightning_gvae.errors import CheckpointError, ConfigError

__all__ = ["OBJECTIVES", "attribute", "blend", "further_trained", "iterated", "stretched"]

Images = npt.NDArray[np.uint8]

ROW = 8  # images of a row
LABELLED = 2000  # test images whose codes make a direction
REFERENCES = 1000  # training images that novelty is measured from
WIDEST, FURTHEST = 4.0, 4.0  # bound of the prior in standard deviations, factor
MOST_LINKS, MOST_STEPS = 12, 200
OBJECTIVES = ("between classes", "novelty")


def stretched(opened: Opened, seed: object, bound: object, factor: object) -> Images:
    """16 images of the prior cut off at ``bound`` standard deviations, and then moved outwards by ``factor``.

    Args:
        opened: The model.
        seed: 0 or more.
        bound: In [0.1, 4]; 4 leaves one normal number of 16,000 out.
        factor: In [0, 4]; 1 changes nothing.

    Returns:
        uint8 ``(16, C, H, W)``.

    Raises:
        ConfigError: A number is out of range.
    """
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    cut = number_between("The bound", bound, 0.1, WIDEST)
    away = number_between("The factor", factor, 0, FURTHEST)
    noise = amplified(truncated_normal(2 * ROW, opened.latent_dim, cut, key), away)
    return opened.decode(opened.prior_latents(noise.numpy()))


def attribute(opened: Opened, without: object, with_: object, seed: object, reach: object) -> Images:
    """Images of one class that are moved along the direction to another one.

    Args:
        opened: A model with an encoder, of data with labels.
        without: Name of the class that is left.
        with_: Name of the class that is gone to.
        seed: Chooses the image, 0 or more.
        reach: Length of the way, in units of the distance of the classes' mean codes, in [0, 4].

    Returns:
        uint8 ``(8, C, H, W)``, from the reconstruction to the end of the way.

    Raises:
        ConfigError: The model has no encoder, the data have no labels, a class does not exist or has no test images, or
            a number is out of range.
        DataError: The data set cannot be read.
    """
    opened.encoder()
    if not (names := opened.class_names):
        raise ConfigError(f"the images of {opened.data_name} have no labels, so there are no classes to move between.")
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    far = number_between("The way", reach, 0, FURTHEST)
    for name in (without, with_):
        if name not in names:
            raise ConfigError(f"the classes are {', '.join(names)}; got {name!r}.")
    means, labels = opened.once("labelled codes", lambda: _labelled_codes(opened))
    first, second = (means[labels == names.index(str(name))] for name in (without, with_))
    for name, codes in ((without, first), (with_, second)):
        if not len(codes):
            raise ConfigError(f"none of {len(labels):,} test images is of the class {name!r}; choose another one.")
    way = direction(first, second)
    points = first[key % len(first)] + torch.linspace(0, far, ROW)[:, None] * way
    return opened.decode(points.numpy())


def _labelled_codes(opened: Opened) -> tuple[Tensor, npt.NDArray[np.int64]]:
    subject = opened.subject
    found = subject.posteriors(subject.data.test_set, LABELLED, "app/labelled")
    return found.means, found.targets


def blend(opened: Opened, other: Opened, share: object, seed: object) -> Images:
    """Samples of the network between two models, beside those of both, from the same latents.

    Args:
        opened: The first model.
        other: The second one, of the same architecture.
        share: Of the second model's weights, in [-0.5, 1.5]; below 0 and above 1 it goes on past the models.
        seed: 0 or more.

    Returns:
        uint8 ``(3, 8, C, H, W)``: rows of the first model, of the one in between, of the second.

    Raises:
        ConfigError: A number is out of range.
        CheckpointError: The two have other shapes.
    """
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    part = number_between("The share", share, -0.5, 1.5)
    if opened.image_shape != other.image_shape or opened.latent_dim != other.latent_dim:
        raise CheckpointError(
            f"{opened.kind} makes images {opened.image_shape} from {opened.latent_dim} latents, {other.kind} "
            f"{other.image_shape} from {other.latent_dim}; choose two models with the same settings."
        )
    middle = blended(opened.model, other.model, part)
    latents = truncated_normal(ROW, opened.latent_dim, WIDEST, key)
    return np.stack([_decoded(model, latents) for model in (opened.model, middle, other.model)])


def iterated(opened: Opened, kind: str, number: object, links: object, gain: object) -> Images:
    """An image that is encoded and decoded again and again.

    Args:
        opened: A model with an encoder.
        kind: Where it starts, see :func:`~lightning_gvae.app.service.latents.start`.
        number: Seed that chooses it.
        links: Times, 1 to 12.
        gain: Factor of the codes at every time, in [0, 4]; above 1 it keeps the chain from coming to rest.

    Returns:
        uint8 ``(links + 1, C, H, W)``.

    Raises:
        ConfigError: The model has no encoder, or a number is out of range.
        DataError: The data set cannot be read.
    """
    model = opened.encoder()
    count = whole_number("The number of links", links, 1, MOST_LINKS)
    factor = number_between("The gain", gain, 0, FURTHEST)
    first = real_images(opened, 1, number) if kind == "test image" else opened.decode(start(opened, kind, number)[None])
    images = torch.from_numpy(first).to(model.device).float() / 255
    return as_bytes(chain([model], images, count, gain=factor).images[:, 0])


def further_trained(
    opened: Opened, objective: str, steps: object, leash: object, seed: object
) -> tuple[Images, list[float], float]:
    """Train a copy of the decoder by an objective instead of the data, and show what it makes of the same latents.

    Args:
        opened: The model; it stays as it is.
        objective: ``between classes`` (entropy of a classifier's verdict, nats) or ``novelty`` (distance to the nearest
            of 1,000 training images, pixels).
        steps: 1 to 200.
        leash: In [0, 1], weight of the squared distance of the weights from where they began.
        seed: Of the samples, 0 or more.

    Returns:
        Images uint8 ``(2, 8, C, H, W)`` before and after; mean objective at every step; relative distance of the
        decoder's weights from where they began.

    Raises:
        ConfigError: A number is out of range, the objective is unknown, or the data have no labels.
        DataError: The data set cannot be read.
        NonFiniteError: The objective is no longer finite.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"the objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}.")
    key = whole_number("The seed", seed, 0, HIGHEST_SEED)
    count = whole_number("The number of steps", steps, 1, MOST_STEPS)
    hold = number_between("The leash", leash, 0, 1)
    away = fine_tuned(opened.model, _objective(opened, objective), count, learning_rate=5e-4, leash=hold, seed=key)
    latents = truncated_normal(ROW, opened.latent_dim, WIDEST, key)
    images = np.stack([_decoded(model, latents) for model in (opened.model, away.model)])
    return images, away.objective, away.moved


def _objective(opened: Opened, name: str) -> Callable[[Tensor], Tensor]:
    if name == "between classes":
        net = opened.classifier().net
        return between_classes(lambda images: net(images * 255)[1])
    subject = opened.subject
    images = subject.images(subject.data.train_set, REFERENCES, "app/references")[0]
    return novelty(torch.from_numpy(images).to(opened.model.device).float() / 255)


def _decoded(model: LabModel, latents: Tensor) -> Images:
    """Images of standard normal noise, which stands for latents of any prior."""
    with torch.no_grad():
        return as_bytes(model.decode_noise(latents.to(model.device)))
