"""Data modules, their parts and the facts about them."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_gvae.text import Vocabulary

__all__ = [
    "ComparableData",
    "ConstrainedProblem",
    "CriterionData",
    "DataFacts",
    "DataModule",
    "DataPart",
    "DataSource",
    "DescribedData",
    "HasDataRange",
    "HasStatistics",
    "HasVocabulary",
    "LoadableData",
    "RestorableData",
    "ResumableData",
    "SharesBatches",
    "TextPart",
]


class DataFacts(Protocol):
    """Facts about a data set that are known before a file is opened."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, H, W)``, or ``(D,)`` of points."""

    @property
    def num_classes(self) -> int | None:
        """Number of labels, if there are any."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels, if they have any."""

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors, if the targets are factors."""

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of classes of each factor."""

    @property
    def is_grid(self) -> bool:
        """Whether there is one image for every combination of factors."""

    @property
    def binary(self) -> bool:
        """Whether pixels are either 0 or 255."""


class DataSource(Protocol):
    """Data that hand out any of their images at once."""

    def __len__(self) -> int: ...

    def batch(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images uint8 ``(B, C, H, W)`` and targets int64 at ``indices`` ``(B,)``."""


class DataPart(DataSource, Protocol):
    """Part of a data set: images and targets at chosen positions."""

    @property
    def source(self) -> DataSource:
        """Whole data set that the part is cut from."""

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Positions of the part in ``source``."""


class TextPart(DataPart, Protocol):
    """Part of a corpus."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each sentence, ``(N,)``."""


class DescribedData(Protocol):
    """Data module that says what its data are."""

    @property
    def spec(self) -> DataFacts:
        """Facts about the data."""


class DataModule(DescribedData, Protocol):
    """Data module in three parts."""

    @property
    def train_set(self) -> DataPart:
        """Images to train on."""

    @property
    def val_set(self) -> DataPart:
        """Images to validate on."""

    @property
    def test_set(self) -> DataPart:
        """Images to test on."""


class LoadableData(DataModule, Protocol):
    """Data module that loads its parts when it is told to."""

    def prepare_data(self) -> None:
        """Download or cache what is needed, in one process."""

    def setup(self, stage: str | None = None) -> None:
        """Load the parts."""


class RestorableData(Protocol):
    """Data module that must be read as a checkpoint says, as sentences with the words that its model knows."""

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over a checkpoint's settings, before anything else is asked."""


class ResumableData(Protocol):
    """Data module that must be cut into parts as it was for the run that is gone on with."""

    def resume_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over what the checkpoint says of the parts, before anything else is asked."""


class SharesBatches(Protocol):
    """Data module whose ranks can all train on the same batches."""

    same_batches: bool


class ComparableData(Protocol):
    """Data module that knows whether a model has been trained on its test part."""

    def compare_with(self, checkpoint: Mapping[str, Any]) -> None:
        """Have ``setup`` compare the parts with those of a checkpoint whose model is to be evaluated."""


class HasStatistics(Protocol):
    """Data module that counts itself what is in its data."""

    def describe(self) -> dict[str, Any]:
        """Figures by name, those of a part as a mapping under its name."""


class HasVocabulary(Protocol):
    """Data module of sentences."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words."""


class HasDataRange(Protocol):
    """Data module of points that are scaled to [-1, 1] feature by feature."""

    @property
    def data_range(self) -> tuple[Tensor, Tensor]:
        """Values ``(D,)`` that became -1 and 1."""


class ConstrainedProblem(Protocol):
    """Minimisation under criteria, with known optima."""

    @property
    def dims(self) -> int:
        """Number of variables D."""

    @property
    def low(self) -> float:
        """Lower bound of every variable."""

    @property
    def high(self) -> float:
        """Upper bound of every variable."""

    @property
    def paper_optimum(self) -> float:
        """Published optimum."""

    @property
    def true_optimum(self) -> float:
        """Smallest feasible objective."""

    def objective(self, x: Tensor) -> Tensor:
        """Objective of points ``(..., D)``: ``(...)``."""

    def violations(self, x: Tensor) -> Tensor:
        """Distance from meeting each criterion: ``(..., C)``."""


class CriterionData(DataModule, HasDataRange, Protocol):
    """Data module of points that meet the criteria of a problem."""

    @property
    def problem(self) -> ConstrainedProblem:
        """The problem."""
