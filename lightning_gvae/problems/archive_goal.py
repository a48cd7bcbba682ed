"""Goals of a quality-diversity search of images, by name: an objective, descriptors and realism."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gvae.devices import float64, widest_float
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive.settings import Judged
from lightning_gvae.evolution.archive.typical_set import TypicalSet
from lightning_gvae.problems.descriptors import DESCRIPTORS, VendiContribution
from lightning_gvae.problems.images import Measure, Tools, nearest_distance

__all__ = ["OBJECTIVES", "ArchiveGoal", "ArchiveTools", "ImageArchiveProblem"]

Judge = Callable[[Tensor, Tensor], Tensor]  # of latents and images

# Lowest value of each; None: it has none, and `floor` must be given.
OBJECTIVES: dict[str, float | None] = {
    "class_probability": 0.0,
    "confidence": 0.0,
    "class_posterior": 0.0,
    "prior_density": 0.0,
    "novelty": 0.0,
    "realism": None,
    "vendi_contribution": None,
    "typicality": 0.0,
    **{name: 0.0 for name in DESCRIPTORS if name != "slant"},
    "slant": None,
}
NEEDS_CLASS = ("class_probability", "class_posterior")
NEEDS_LATENTS = ("class_posterior", "prior_density")
REALISM = ("typical", "distance", "critic", "class_probability")
AUTO = (0.01, 0.99)  # quantiles of training images between which `auto` puts a range


class ArchiveTools(Tools, Protocol):
    """Tools that a goal may need besides those of a latent search."""

    def aggregate_posterior(self) -> Tensor:
        """Draws from the posteriors of training data ``(N, L)``."""


@dataclass(frozen=True)
class ImageArchiveProblem:
    """Objective, descriptors and realism of latents and the images that they decode to.

    Args:
        objective: Maximised.
        descriptors: By name, in the order of the archive's axes.
        ranges: Of the descriptors.
        floor: What the objective never falls below.
        realistic: None without.
    """

    objective: Judge
    descriptors: Mapping[str, Judge]
    ranges: Sequence[tuple[float, float]]
    floor: float
    realistic: Judge | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the descriptors."""
        return tuple(self.descriptors)

    def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
        """Judge a batch; images are clipped to [0, 1] first, as in a picture."""
        images = decoded.clamp(0, 1)
        columns = torch.stack([measure(latents, images) for measure in self.descriptors.values()], 1)
        realistic = None if self.realistic is None else self.realistic(latents, images)
        return Judged(self.objective(latents, images), columns, realistic)


@dataclass(frozen=True)
class ArchiveGoal:
    """Qualities to vary and to maximise, as plain values; :meth:`bind` makes the problem of them.

    Objective and descriptors are names, a leading minus reverses an objective: ``brightness`` (mean over pixels),
    ``lightness``, ``thickness`` (pixels), ``slant``, ``width``, ``height``, ``mirror_symmetry``, ``flip_symmetry``,
    ``rotational_symmetry``, ``class_probability`` (of the class ``wanted``), ``confidence`` (of the likeliest class),
    ``realism`` (logit of the discriminator), ``novelty`` (distance to the nearest training image),
    ``typicality`` (distance of the code of the image from those of training images), ``vendi_contribution`` (to the
    variety of training images). Objectives only: ``prior_density``, and ``class_posterior``, the density of the latent
    given that the classifier sees ``wanted``: both relative to its largest value and in the geometric mean over
    latents, so in [0, 1]. Instead of a name any function of images in [0, 1] will do.

    Args:
        descriptors: By name the range, ``[low, high]`` or ``"auto"`` (where training images lie, 1 % to 99 %). An own
            function is given as ``{"measure": function, "range": [low, high]}``.
        objective: Maximised.
        wanted: Class of ``class_probability`` and ``class_posterior``, wherever they stand.
        realism: ``{"typical": [low, high]}`` (quantiles of the distances of encoded data, see
            :class:`~lightning_gvae.evolution.archive.typical_set.TypicalSet`; ``distance: norm`` for lengths instead),
            ``{"critic": least}`` (logit of the discriminator), ``{"class_probability": least}`` (of the class
            ``wanted``), or several, all of which must hold; empty for none.
        floor: What the objective never falls below; None where the objective says itself.

    Raises:
        ConfigError: An unknown name, or a value that is missing or out of range.
    """

    descriptors: Mapping[str, Any]
    objective: str | Callable[[Tensor], Tensor] = "prior_density"
    wanted: int | None = None
    realism: Mapping[str, Any] = field(default_factory=dict)
    floor: float | None = None

    def __post_init__(self) -> None:
        self._check_objective()
        if not self.descriptors:
            raise ConfigError("`descriptors` must name at least one descriptor and its range, got none")
        known = [name for name in OBJECTIVES if name not in NEEDS_LATENTS]
        for name, about in self.descriptors.items():
            if isinstance(about, Mapping):
                if not callable(about.get("measure")) or "range" not in about:
                    raise ConfigError(f"`descriptors.{name}` must have `measure`, a function of images, and `range`")
                _check_range(name, about["range"])
                continue
            if name not in known:
                raise ConfigError(f"`descriptors` may name {', '.join(known)}, got {name!r}")
            _check_range(name, about)
        unknown = set(self.realism) - set(REALISM)
        if unknown:
            raise ConfigError(f"`realism` may have {', '.join(REALISM)}, got {', '.join(sorted(unknown))}")

    def bind(self, tools: ArchiveTools) -> ImageArchiveProblem:
        """The problem, with what it needs of ``tools``."""
        found = _Measures(tools, self.wanted)
        descriptors: dict[str, Judge] = {}
        ranges: list[tuple[float, float]] = []
        for name, about in self.descriptors.items():
            own = isinstance(about, Mapping)
            descriptors[name] = _of_images(about["measure"]) if own else found(name)
            wanted = about["range"] if own else about
            ranges.append(_auto_range(name, descriptors[name], tools) if wanted == "auto" else (wanted[0], wanted[1]))
        return ImageArchiveProblem(self._objective(found), descriptors, ranges, self._floor(), self._realistic(found))

    def _check_objective(self) -> None:
        if callable(self.objective):
            name = None
        else:
            name = self.objective.removeprefix("-")
            if name not in OBJECTIVES:
                raise ConfigError(f"`objective` must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        used = {name, *self.descriptors, *self.realism} & set(NEEDS_CLASS)
        if bool(used) != (self.wanted is not None):
            raise ConfigError(
                f"`wanted` belongs to {' and '.join(NEEDS_CLASS)}; objective, descriptors and realism are "
                f"{self.objective}, "
                f"{', '.join([*self.descriptors, *self.realism])}, `wanted` is {self.wanted}"
            )
        if self.floor is None and not math.isfinite(self._floor()):
            raise ConfigError(f"`floor` must be given: the objective {self.objective} has no lowest value by itself")

    def _floor(self) -> float:
        if self.floor is not None:
            return float(self.floor)
        if callable(self.objective) or self.objective.startswith("-"):
            return -math.inf
        lowest = OBJECTIVES[self.objective]
        return -math.inf if lowest is None else lowest

    def _objective(self, found: "_Measures") -> Judge:
        if callable(self.objective):
            return _of_images(self.objective)
        judge = found(self.objective.removeprefix("-"))
        if self.objective.startswith("-"):
            return lambda latents, images: -judge(latents, images)
        return judge

    def _realistic(self, found: "_Measures") -> Judge | None:
        checks: list[Judge] = []
        if "typical" in self.realism:
            low, high = self.realism["typical"]
            typical = TypicalSet(
                found.tools.aggregate_posterior(), (low, high), self.realism.get("distance", "mahalanobis")
            )
            checks.append(lambda latents, images: typical(latents))
        if "critic" in self.realism:
            critic, least = found.tools.critic(), float(self.realism["critic"])
            checks.append(lambda latents, images: critic(images) >= least)
        if "class_probability" in self.realism:
            chance, enough = found("class_probability"), float(self.realism["class_probability"])
            checks.append(lambda latents, images: (chance(latents, images) >= enough).to(latents.device))
        if not checks:
            return None
        return lambda latents, images: torch.stack([check(latents, images) for check in checks]).all(0)


class _Measures:
    """Judges by name; each tool is made once, and a classifier looks at a batch once."""

    def __init__(self, tools: ArchiveTools, wanted: int | None) -> None:
        self.tools, self.wanted = tools, wanted
        self._classifier: Measure | None = None
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, name: str) -> Judge:
        if name in DESCRIPTORS:
            return _of_images(DESCRIPTORS[name])
        if name in ("class_probability", "confidence", "class_posterior"):
            return self._of_classes(name)
        if name == "prior_density":
            return lambda latents, images: _relative_density(torch.zeros(len(latents)).to(latents), latents)
        if name == "novelty":
            references = self.tools.training_images()
            return _of_images(lambda images: nearest_distance(images, references))
        if name == "vendi_contribution":
            return _of_images(VendiContribution(self.tools.training_images()))
        return _of_images({"realism": self.tools.critic, "typicality": self.tools.typicality}[name]())

    def _of_classes(self, name: str) -> Judge:
        if self._classifier is None:
            self._classifier = self.tools.classifier()
        if name == "confidence":
            return lambda latents, images: self._log_probabilities(images).amax(1).exp()
        wanted = self.wanted
        assert wanted is not None
        if name == "class_probability":
            return lambda latents, images: self._column(images, wanted).exp()
        return lambda latents, images: _relative_density(self._column(images, wanted), latents)

    def _column(self, images: Tensor, wanted: int) -> Tensor:
        logs = self._log_probabilities(images)
        if not 0 <= wanted < logs.shape[1]:
            raise ConfigError(f"`wanted` must be a class of 0..{logs.shape[1] - 1}, got {wanted}")
        return logs[:, wanted]

    def _log_probabilities(self, images: Tensor) -> Tensor:
        assert self._classifier is not None
        if self._last is None or self._last[0] is not images:
            logits = self._classifier(images)
            self._last = images, F.log_softmax(logits.to(widest_float(logits.device)), 1)
        return self._last[1]


def _relative_density(log_likelihood: Tensor, latents: Tensor) -> Tensor:
    """``(p exp(-z'z / 2)) ** (1 / L)``: in [0, 1], the same order as the density, and no underflow."""
    logs = log_likelihood.to(latents) - 0.5 * latents.square().sum(1)
    return (logs / latents.shape[1]).exp()


def _of_images(measure: Measure) -> Judge:
    return lambda latents, images: measure(images)


def _auto_range(name: str, judge: Judge, tools: ArchiveTools) -> tuple[float, float]:
    images = tools.training_images()
    values = float64(judge(images.new_zeros(len(images), 1), images))
    ordered = values[values.isfinite()].sort().values
    if not len(ordered):
        raise ConfigError(f"`descriptors.{name}: auto` finds no training image that has a value; give [low, high]")
    low, high = (float(ordered[round(q * (len(ordered) - 1))]) for q in AUTO)
    if low == high:
        raise ConfigError(f"descriptor {name} is constant on the training images ({low:g}); take another one")
    return low, high


def _check_range(name: str, wanted: Any) -> None:
    if wanted == "auto":
        return
    if not isinstance(wanted, Sequence) or isinstance(wanted, str) or len(wanted) != 2 or not wanted[0] < wanted[1]:
        raise ConfigError(f"`descriptors.{name}` must be auto or [low, high] with low < high, got {wanted!r}")
