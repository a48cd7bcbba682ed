"""Descriptors of an image: ink, strokes, slant, symmetry, and what it adds to the variety of a set.

Images are ``(N, C, H, W)`` in [0, 1]; every function gives ``(N,)``. Bright is taken for ink, as in MNIST.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.images import pixel_mass, symmetry

__all__ = [
    "DESCRIPTORS",
    "VendiContribution",
    "height",
    "lightness",
    "reduced",
    "slant",
    "thickness",
    "width",
]

EMPTY = 1e-6  # ink of an image that has none
FLOOR = 1e-4  # eigenvalue of a direction that the reference images do not have, in units of 1 / dimensions
EDGE = 28  # pixels: larger images are reduced to so many before they are compared


def lightness(images: Tensor) -> Tensor:
    """Mean of the pixels above one half, 0.5 to 1; NaN without any: how strong the ink is, not how much of it."""
    ink = images.mean(1).flatten(1)
    white = ink > 0.5
    return (ink * white).sum(1) / white.sum(1)


def thickness(images: Tensor) -> Tensor:
    """Mean width of the strokes, in pixels: twice the ink over the length of its outline; NaN without ink.

    A stroke of width w and length l has the area w l and, with ends that do not matter, the outline 2 l. The length of
    the outline is the total variation of the image, so that grey strokes and soft edges measure the same.
    """
    ink = F.pad(images.mean(1), (1, 1, 1, 1))
    down, right = ink[:, 1:, :-1] - ink[:, :-1, :-1], ink[:, :-1, 1:] - ink[:, :-1, :-1]
    outline = (down.square() + right.square()).sqrt().flatten(1).sum(1)
    area = ink.flatten(1).sum(1)
    return torch.where(area > EMPTY, 2 * area / outline, torch.nan)


def slant(images: Tensor) -> Tensor:
    """Shift to the right for each row upwards of the straight line through the ink, by least squares; NaN without ink.

    0 is upright, 1 leans to the right by 45 degrees. NaN also if all ink lies in one row.
    """
    _, rows, columns, mass = _moments(images)
    across, up = (mass * rows * columns).flatten(1).sum(1), (mass * rows * rows).flatten(1).sum(1)
    return torch.where(up > EMPTY, -across / up, torch.nan)


def width(images: Tensor) -> Tensor:
    """Standard deviation of the ink from left to right, in units of the image's width; NaN without ink."""
    _, _, columns, mass = _moments(images)
    return (mass * columns.square()).flatten(1).sum(1).sqrt() / images.shape[3]


def height(images: Tensor) -> Tensor:
    """Standard deviation of the ink from top to bottom, in units of the image's height; NaN without ink."""
    _, rows, _, mass = _moments(images)
    return (mass * rows.square()).flatten(1).sum(1).sqrt() / images.shape[2]


DESCRIPTORS: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": pixel_mass,
    "lightness": lightness,
    "thickness": thickness,
    "slant": slant,
    "width": width,
    "height": height,
    "mirror_symmetry": lambda images: symmetry(images, (3,)),
    "flip_symmetry": lambda images: symmetry(images, (2,)),
    "rotational_symmetry": lambda images: symmetry(images, (2, 3)),
}


class VendiContribution:
    r"""Contribution of an image to the Vendi score of reference images, nats an image that is added to infinitely many.

    With rows of length one in X and :math:`M = X^T X / n`, the logarithm of the Vendi score is the entropy
    :math:`H(M) = -\mathrm{tr}(M \log M)`. Its derivative in the weight of an added image x is

    .. math:: -x^T \log(M)\, x - H(M),

    0 on average over the references, positive for what is rarer than they are. Costs D² an image, D pixels; images are
    reduced to grey and at most 28 x 28 first. Directions that no reference has count as ones that hardly any has.

    Args:
        references: ``(M, C, H, W)``, at least 2, at least one of them not black.

    Raises:
        ConfigError: There are no such references.

    References:
        Friedman and Dieng, The Vendi score: a diversity evaluation metric for machine learning, 2023; the derivative is
        that of the von Neumann entropy.
    """

    def __init__(self, references: Tensor) -> None:
        rows = reduced(references)
        kept = rows[rows.norm(dim=1) > EMPTY]
        if len(kept) < 2:
            raise ConfigError(
                f"`vendi_contribution` compares with at least 2 images that are not black, got {len(kept)}"
            )
        rows = kept / kept.norm(dim=1, keepdim=True)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        logs = values.clamp(min=FLOOR / len(values)).log()
        self.entropy = float(-(values * logs).sum())
        self._log = (vectors * logs) @ vectors.T

    def __call__(self, images: Tensor) -> Tensor:
        """Contributions of images ``(N,)``; NaN of a black one."""
        rows = reduced(images)
        rows = rows / rows.norm(dim=1, keepdim=True)
        return (-((rows @ self._log) * rows).sum(1) - self.entropy).to(images)


def reduced(images: Tensor) -> Tensor:
    """Grey images of at most 28 x 28 pixels as rows, fp64 ``(N, D)``, on the CPU."""
    grey = float64(images).mean(1, keepdim=True).cpu()
    size = (min(images.shape[2], EDGE), min(images.shape[3], EDGE))
    return F.adaptive_avg_pool2d(grey, size).flatten(1)


def _moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ink ``(N,)``, rows and columns from its centre, and the share of it in each pixel, ``(N, H, W)``; NaN without."""
    ink = images.mean(1)
    total = ink.flatten(1).sum(1)
    mass = torch.where((total > EMPTY)[:, None, None], ink, torch.nan) / total[:, None, None]
    rows = torch.arange(ink.shape[1], device=ink.device, dtype=ink.dtype)[None, :, None]
    columns = torch.arange(ink.shape[2], device=ink.device, dtype=ink.dtype)[None, None, :]
    rows = rows - (mass * rows).flatten(1).sum(1)[:, None, None]
    columns = columns - (mass * columns).flatten(1).sum(1)[:, None, None]
    return total, rows, columns, mass
