"""Objectives and criteria of images: what a latent search can be asked to find, by name.

What has to be learnt from data (a classifier, a critic, where the training images lie) is not made here but asked of
:class:`Tools`. Images are ``(N, C, H, W)`` in [0, 1]; values outside are clipped first, as in a picture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gvae.devices import widest_float
from lightning_gvae.errors import ConfigError

__all__ = [
    "CRITERIA",
    "OBJECTIVES",
    "ImageGoal",
    "ImageProblem",
    "Tools",
    "class_loss",
    "nearest_distance",
    "pixel_mass",
    "symmetry",
]

OBJECTIVES = ("class_probability", "target_distance", "realism", "novelty")
CRITERIA = ("pixel_mass", "mirror_symmetry", "rotational_symmetry", "realism", "typicality")
CHUNK = 256  # images compared with all references at once

Measure = Callable[[Tensor], Tensor]


class Tools(Protocol):
    """Tools that a goal may need besides the images; each is made when it is first asked for."""

    def classifier(self) -> Measure:
        """Function from images to logits ``(N, K)``."""

    def critic(self) -> Measure:
        """Function from images to a score of realism ``(N,)``, higher is more real."""

    def typicality(self) -> Measure:
        """Function from images to the distance ``(N,)`` of their codes from those of training images, 1 on average."""

    def training_images(self) -> Tensor:
        """Training images ``(M, C, H, W)``."""

    def target_image(self, number: int) -> Tensor:
        """A test image ``(C, H, W)``."""


@dataclass(frozen=True)
class ImageProblem:
    """Objective and criteria of decoded images.

    Args:
        minimised: Objective of images, ``(N,)``.
        criteria: By name, the violations of images, ``(N,)``, 0 where met.
        label: How a value of the objective is written under an image.
    """

    minimised: Measure
    criteria: Mapping[str, Measure] = field(default_factory=dict)
    label: Callable[[float], str] = lambda value: f"{value:.3g}".replace("-", "\N{MINUS SIGN}")

    def objective(self, images: Tensor, /) -> Tensor:
        """Quantity that is minimised, ``(N,)``."""
        return self.minimised(images.clamp(0, 1))

    def violations(self, images: Tensor, /) -> Tensor:
        """One column a criterion, ``(N, C)``."""
        clipped = images.clamp(0, 1)
        columns = [violation(clipped) for violation in self.criteria.values()]
        return torch.stack(columns, 1) if columns else images.new_zeros(len(images), 0)


@dataclass(frozen=True)
class ImageGoal:
    """Goal of a search among images, as plain values; :meth:`bind` makes the problem of it.

    Args:
        objective: ``"class_probability"`` (minus the logarithm of the probability that a classifier gives the class
            ``wanted``), ``"target_distance"`` (mean squared difference from test image ``target``), ``"realism"``
            (minus the critic's score) or ``"novelty"`` (minus the distance to the nearest training image, root mean
            square over pixels); or a function of the user's own, from images in [0, 1] to what is minimised, ``(N,)``.
        wanted: Class of ``class_probability``.
        target: Number of the test image of ``target_distance``.
        criteria: By name: ``pixel_mass: [least, most]`` (mean over pixels and channels), ``mirror_symmetry: least`` and
            ``rotational_symmetry: least`` (1 if nothing changes by mirroring left and right or by half a turn, 0 if
            nothing overlaps), ``realism: least`` (the critic's score), ``typicality: most`` (mean squared distance of
            the image's code from the training images' codes in standard deviations, 1 on average). A name of the
            user's choice stands for a function from images to violations ``(N,)``, 0 where the criterion is met.

    Raises:
        ConfigError: an unknown name, or a number that is missing or out of range.

    >>> goal = ImageGoal("target_distance", target=3, criteria={"pixel_mass": [0.1, 0.2]})
    >>> goal.needs
    ('target_image',)
    """

    objective: str | Measure
    wanted: int | None = None
    target: int | None = None
    criteria: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.objective) and self.objective not in OBJECTIVES:
            raise ConfigError(
                f"`objective` must be one of {', '.join(OBJECTIVES)}, or a function of images, got {self.objective!r}"
            )
        for name, argument in [("class_probability", "wanted"), ("target_distance", "target")]:
            value = getattr(self, argument)
            if (self.objective == name) != (value is not None):
                raise ConfigError(
                    f"`{argument}` belongs to the objective {name}; the objective is {_named(self.objective)}, "
                    f"`{argument}` is {value}; set it to null, or take that objective"
                )
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ConfigError(f"`{argument}` must be a whole number of at least 0, got {value!r}")
        for name, bound in self.criteria.items():
            if callable(bound):
                continue
            if name not in CRITERIA:
                raise ConfigError(
                    f"`criteria` may name {', '.join(CRITERIA)}, or give a function of images a name of its own, got "
                    f"{name!r}: {bound!r:.100}"
                )
            if name == "pixel_mass":
                _check_range(bound)
            elif isinstance(bound, bool) or not isinstance(bound, int | float) or math.isnan(bound):
                raise ConfigError(f"`criteria.{name}` must be a number, got {bound!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tools that :meth:`bind` asks for."""
        tools = {
            "class_probability": "classifier",
            "target_distance": "target_image",
            "realism": "critic",
            "novelty": "training_images",
            "typicality": "typicality",
        }
        named = [self.objective, *(name for name, bound in self.criteria.items() if not callable(bound))]
        return tuple(dict.fromkeys(tools[name] for name in named if isinstance(name, str) and name in tools))

    def bind(self, tools: Tools) -> ImageProblem:
        """The problem, with what it needs of ``tools``."""
        criteria = {name: _criterion(name, bound, tools) for name, bound in self.criteria.items()}
        if self.wanted is not None:
            return ImageProblem(self._objective(tools), criteria, _chance)
        return ImageProblem(self._objective(tools), criteria)

    def _objective(self, tools: Tools) -> Measure:
        if callable(self.objective):
            return self.objective
        if self.objective == "class_probability":
            classifier, wanted = tools.classifier(), self.wanted
            assert wanted is not None
            return lambda images: class_loss(classifier(images), wanted)
        if self.objective == "target_distance":
            assert self.target is not None
            target = tools.target_image(self.target)
            return lambda images: (images - target.to(images)).square().flatten(1).mean(1)
        if self.objective == "realism":
            critic = tools.critic()
            return lambda images: -critic(images)
        references = tools.training_images()
        return lambda images: -nearest_distance(images, references)


def class_loss(logits: Tensor, wanted: int) -> Tensor:
    """Minus the logarithm of the probability of a class, nats ``(N,)``, of logits ``(N, K)``; fp64 where there is fp64.

    Raises:
        ConfigError: there is no such class.
    """
    if not 0 <= wanted < logits.shape[1]:
        raise ConfigError(f"`wanted` must be a class of 0..{logits.shape[1] - 1}, got {wanted}")
    # In fp32 every probability above 1 - 6e-8 is 1, and the search would be blind there.
    return -F.log_softmax(logits.to(widest_float(logits.device)), 1)[:, wanted]


def nearest_distance(images: Tensor, references: Tensor) -> Tensor:
    """Distance to the nearest reference, root mean square over pixels: ``(N,)`` in [0, 1].

    Args:
        images: ``(N, C, H, W)``.
        references: ``(M, C, H, W)``.

    Raises:
        ConfigError: the two differ in shape.
    """
    if images.shape[1:] != references.shape[1:]:
        raise ConfigError(
            f"images of shape {tuple(images.shape[1:])} cannot be compared with references of shape "
            f"{tuple(references.shape[1:])}"
        )
    rows, others = images.flatten(1), references.flatten(1).to(images)
    nearest = [torch.cdist(part, others).min(1).values for part in rows.split(CHUNK)]
    return torch.cat(nearest) / rows.shape[1] ** 0.5


def pixel_mass(images: Tensor) -> Tensor:
    """Mean over pixels and channels, ``(N,)``."""
    return images.flatten(1).mean(1)


def symmetry(images: Tensor, dims: Sequence[int]) -> Tensor:
    """Overlap of images with themselves flipped along ``dims``: ``(N,)`` in [0, 1], 1 for an image that stays the same.

    One minus the sum of absolute differences over the sum of both; an empty image is symmetric.
    """
    flipped = images.flip(*dims)
    both = (images + flipped).flatten(1).sum(1)
    return 1 - (images - flipped).abs().flatten(1).sum(1) / both.clamp(min=1e-12)


def _criterion(name: str, bound: Any, tools: Tools) -> Measure:
    if callable(bound):
        measure: Measure = bound
        return measure
    if name == "pixel_mass":
        least, most = bound
        return lambda images: (least - pixel_mass(images)).clamp(min=0) + (pixel_mass(images) - most).clamp(min=0)
    if name in ("mirror_symmetry", "rotational_symmetry"):
        dims = (3,) if name == "mirror_symmetry" else (2, 3)
        return lambda images: (bound - symmetry(images, dims)).clamp(min=0)
    if name == "realism":
        critic = tools.critic()
        return lambda images: (bound - critic(images)).clamp(min=0)
    typicality = tools.typicality()
    return lambda images: (typicality(images) - bound).clamp(min=0)


def _named(objective: str | Measure) -> str:
    return objective if isinstance(objective, str) else getattr(objective, "__name__", type(objective).__name__)


def _chance(loss: float) -> str:
    """The probability of which ``loss`` is minus the logarithm; near 1, what it lacks."""
    chance = math.exp(-loss)
    return f"p={chance:.3f}" if chance < 0.999 else f"1\N{MINUS SIGN}p={abs(math.expm1(-loss)):.0e}"


def _check_range(bound: Any) -> None:
    if (
        not isinstance(bound, Sequence)
        or isinstance(bound, str)
        or len(bound) != 2
        or not 0 <= bound[0] < bound[1] <= 1
    ):
        raise ConfigError(f"`criteria.pixel_mass` must be [least, most] with 0 <= least < most <= 1, got {bound!r}")
