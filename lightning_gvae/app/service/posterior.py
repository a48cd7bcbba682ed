"""Posteriors of the training images in latent space, beside the prior."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_gvae.app.service.latents import useful_dims
from lightning_gvae.app.service.opened import Opened
from lightning_gvae.rng import numpy_stream

__all__ = ["PosteriorView", "posterior_view", "principal_plane"]

MOST_DIMS = 12
FEW_CLASSES = 12

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PosteriorView:
    """The aggregate posterior of some training images.

    Args:
        plane: Posterior means on their two principal axes, ``(N, 2)``; the prior lies around the origin.
        share: Share of the variance of the means that each axis has, ``(2,)``.
        labels: Class of each image, ``(N,)``, or None if the data have none.
        class_names: Names of the classes.
        dims: Most useful dimensions with their mean KL, nats.
        draws: One draw z ~ q(z|x) an image in those dimensions, ``(N, D)``.
        means: Posterior means in those dimensions, ``(N, D)``.
    """

    plane: Array
    share: tuple[float, float]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    dims: list[tuple[int, float]]
    draws: Array
    means: Array


def posterior_view(opened: Opened, dims: int = MOST_DIMS) -> PosteriorView:
    """Look at the posteriors of 5,000 training images.

    Args:
        opened: The model.
        dims: Dimensions to look at one by one, at most.

    Raises:
        ConfigError: The model has no encoder.
        DataError: The training images cannot be read.
    """
    opened.encoder()
    found, spec = opened.posteriors(), opened.subject.spec
    means, log_vars = found.means.double().numpy(), found.log_vars.double().numpy()
    plane, share = principal_plane(means)
    useful = useful_dims(opened, dims)
    chosen = [number for number, _ in useful]
    draws = means + np.exp(0.5 * log_vars) * numpy_stream(0, "app/posterior").standard_normal(means.shape)
    labelled = spec.num_classes is not None and spec.num_classes <= FEW_CLASSES
    names = spec.class_names or tuple(map(str, range(spec.num_classes or 0)))
    return PosteriorView(
        plane, share, found.targets if labelled else None, names, useful, draws[:, chosen], means[:, chosen]
    )


def principal_plane(points: Array) -> tuple[Array, tuple[float, float]]:
    """Coordinates ``(N, 2)`` of points ``(N, Z)`` on their first two principal axes, and the axes' share of variance.

    The origin stays the origin, so that a standard normal around it is one in the plane too. Each axis points to where
    its largest entry is positive; with a single dimension the second coordinate is 0.
    """
    centred = points - points.mean(0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(points))
    order = np.argsort(-variances, kind="stable")[:2]
    axes = axes[:, order] * np.sign(axes[np.abs(axes[:, order]).argmax(0), order])
    plane, share = points @ axes, variances[order] / max(float(variances.sum()), 1e-300)
    if points.shape[1] == 1:
        return np.column_stack([plane, np.zeros(len(points))]), (1.0, 0.0)
    return plane, (float(share[0]), float(share[1]))
