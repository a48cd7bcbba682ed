"""The part of a data module's training images that a run has read."""

import lightning as L
import numpy as np
import numpy.typing as npt
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import DataFacts, DataModule, DataPart
from lightning_gvae.training.items import TrainedItems

__all__ = ["TrainedPart", "trained_on"]


class TrainedPart:
    """Items at some positions of a part.

    Args:
        part: The part.
        positions: Of the items that were trained on, ``(M,)``.
    """

    def __init__(self, part: DataPart, positions: npt.NDArray[np.int64]) -> None:
        self.source, self.indices = part.source, np.asarray(part.indices)[positions]
        self._part, self._positions = part, positions

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images and targets at positions among the items trained on."""
        return self._part.batch(self._positions[np.asarray(indices, dtype=np.int64)])


class _TrainedOn:
    """A data module whose training part is what was trained on; the other parts are the original's."""

    def __init__(self, datamodule: DataModule, part: TrainedPart) -> None:
        self._datamodule, self.train_set = datamodule, part

    @property
    def spec(self) -> DataFacts:
        return self._datamodule.spec

    @property
    def val_set(self) -> DataPart:
        return self._datamodule.val_set

    @property
    def test_set(self) -> DataPart:
        return self._datamodule.test_set


def trained_on(trainer: L.Trainer, datamodule: DataModule, seed: int) -> DataModule:
    """The data module as the fit that has just ended read it: without training images that its loader left out.

    Those are images left out by a sampler, of weight 0, or beyond ``limit_train_batches`` or ``overfit_batches``. Every
    rank must call it.

    Args:
        trainer: Whose fit has ended.
        datamodule: Its data module; of another one than the loader's it is returned as it is.
        seed: Of the copies of samplers.
    """
    part, loader = datamodule.train_set, trainer.train_dataloader
    if len(getattr(loader, "dataset", ())) != len(part):
        return datamodule
    try:
        positions = TrainedItems(seed, "latent_search").now(trainer, over=True).positions
    except ConfigError as error:
        rank_zero_info(f"The search after the fit looks at all training images: {error}.")
        return datamodule
    if len(positions) == len(part):
        return datamodule
    rank_zero_info(
        f"The search after the fit looks at the {len(positions)} training images that were trained on, of {len(part)}."
    )
    return _TrainedOn(datamodule, TrainedPart(part, positions))
