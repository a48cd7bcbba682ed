"""Diversity as torchmetrics classes: fed batch by batch, summed over the ranks of a process group."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.metrics.diversity.classes import ClassDiversity, class_diversity, class_shares
from lightning_gvae.metrics.diversity.effective import checked_order
from lightning_gvae.metrics.diversity.memory import duplicate_rate, nearest_distances
from lightning_gvae.metrics.diversity.pure import pure_diversity
from lightning_gvae.metrics.diversity.vendi import second_moment, vendi_spectrum

__all__ = ["Classes", "DuplicateRate", "MemorisationRate", "PureDiversity", "VendiScore"]


class VendiScore(Metric):
    """:func:`~.vendi.vendi_features` of all features seen, from D x D sums.

    Args:
        dims: D.
        order: q, 0 or more.
        options: As for ``torchmetrics.Metric``.

    Raises:
        ConfigError: ``dims`` is below 1, ``order`` negative, or (from ``compute``) nothing was seen.
        DataError: From ``update``: features that are not ``(B, D)``, not finite, or all zero.
    """

    higher_is_better, full_state_update = True, False
    moment: Tensor
    count: Tensor

    def __init__(self, dims: int, order: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.dims, self.order = checked_count("dims", dims), checked_order(order)
        self.add_state("moment", torch.zeros(dims, dims, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Add features ``(B, D)``."""
        if features.ndim == 2 and features.shape[1] != self.dims:
            raise ConfigError(f"features must have `dims` {self.dims} columns, got {features.shape[1]}")
        self.moment += second_moment(features.cpu()).to(self.moment.device) * len(features)
        self.count += len(features)

    def compute(self) -> Tensor:
        """The score, 1 to D."""
        if not self.count:
            raise ConfigError("the Vendi score of no sample does not exist; call `update` first")
        spectrum = torch.linalg.eigvalsh(self.moment.cpu() / self.count.cpu())
        return torch.tensor(vendi_spectrum(spectrum, self.order), dtype=torch.float64)


class Classes(Metric):
    """:func:`~.classes.class_diversity` of all labels or logits seen, by name.

    Args:
        classes: K.
        least: As for :func:`~.classes.class_diversity`.
        options: As for ``torchmetrics.Metric``.

    Raises:
        ConfigError: ``classes`` is below 1, or (from ``compute``) nothing was seen.
        DataError: From ``update``: labels out of range.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, classes: int, least: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.least = checked_count("classes", classes), least
        self.add_state("counts", torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, labels: Tensor) -> None:
        """Add labels ``(B,)`` or logits ``(B, K)``."""
        self.counts += (class_shares(labels.cpu(), self.classes) * len(labels)).round().long().to(self.counts.device)

    def compute(self) -> dict[str, Tensor]:
        """``coverage``, ``entropy`` (nats), ``effective`` and ``imbalance``."""
        if not self.counts.sum():
            raise ConfigError("the classes of no sample do not exist; call `update` first")
        labels = torch.repeat_interleave(torch.arange(self.classes), self.counts.cpu())
        found: ClassDiversity = class_diversity(labels, self.classes, least=self.least)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found._asdict().items()}


class _Kept(Metric):
    """Keeps features ``(B, D)`` of up to ``most`` samples."""

    full_state_update = False
    features: list[Tensor]

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.most = checked_count("most", most)
        self.add_state("features", [], dist_reduce_fx="cat")

    def update(self, features: Tensor) -> None:
        """Add features; those beyond ``most`` on a rank are left out."""
        seen = sum(map(len, self.features))
        if seen < self.most:
            self.features.append(features[: self.most - seen].detach().cpu())

    def _all(self) -> Tensor:
        kept = self.features if isinstance(self.features, Tensor) else torch.cat(self.features or [torch.zeros(0, 1)])
        if not len(kept):
            raise ConfigError("no sample was seen; call `update` first")
        return kept


class DuplicateRate(_Kept):
    """:func:`~.memory.duplicate_rate` of the first ``most`` samples of every rank.

    Args:
        threshold: Largest distance of twins.
        most: Samples kept on a rank.
        options: As for ``torchmetrics.Metric``.

    Raises:
        ConfigError: From ``compute``: fewer than two samples, or a negative threshold.
    """

    higher_is_better = False

    def __init__(self, threshold: float = 0.0, most: int = 10_000, **options: Any) -> None:
        super().__init__(most, **options)
        self.threshold = threshold

    def compute(self) -> Tensor:
        """The rate, 0 to 1."""
        return torch.tensor(duplicate_rate(self._all(), self.threshold), dtype=torch.float64)


class PureDiversity(_Kept):
    """:func:`~.pure.pure_diversity` with Euclidean distances of the first ``most`` samples of every rank.

    Args:
        most: Samples kept on a rank, at most 5000 over all ranks.
        options: As for ``torchmetrics.Metric``.

    Raises:
        ConfigError: From ``compute``: no sample, or too many.
    """

    higher_is_better = True

    def __init__(self, most: int = 500, **options: Any) -> None:
        super().__init__(most, **options)

    def compute(self) -> Tensor:
        """The sum of N - 1 distances."""
        rows = self._all().double()
        return torch.tensor(
            pure_diversity(torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)),
            dtype=torch.float64,
        )


class MemorisationRate(Metric):
    """Share of samples nearer to a training image than a threshold, see :func:`~.memory.memorisation`.

    Args:
        train: Features of the training images ``(M, D)``.
        threshold: Distance, 0 or more.
        options: As for ``torchmetrics.Metric``.

    Raises:
        ConfigError: ``threshold`` is negative, or (from ``compute``) nothing was seen.
        DataError: From ``update``: features of another shape.
    """

    higher_is_better, full_state_update = False, False
    near: Tensor
    count: Tensor

    def __init__(self, train: Tensor, threshold: float, **options: Any) -> None:
        super().__init__(**options)
        if not threshold >= 0:
            raise ConfigError(f"`threshold` must be a distance of 0 or more, got {threshold!r}")
        self.train_features, self.threshold = train, threshold
        self.add_state("near", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Add features of samples ``(B, D)``."""
        distances = nearest_distances(features.cpu(), self.train_features)[:, 0]
        self.near += int((distances <= self.threshold).sum())
        self.count += len(features)

    def compute(self) -> Tensor:
        """The rate, 0 to 1."""
        if not self.count:
            raise ConfigError("the rate of no sample does not exist; call `update` first")
        return float64(self.near) / self.count
