"""Logging values of an evaluation batch so that the epoch's value is the mean over all samples of all ranks."""

from collections.abc import Mapping

import lightning as L
from torch import Tensor

__all__ = ["log_means"]


def log_means(module: L.LightningModule, stage: str, values: Mapping[str, Tensor], count: int) -> None:
    """Log means over a batch, weighted by its size, as ``stage/name``.

    Args:
        module: Whose step this is.
        stage: ``val`` or ``test``.
        values: Scalars, means over the batch.
        count: Samples of the batch.
    """
    # As a float: Lightning averages the ranks' counts in their own type, and 97 and 96 images would be 96 each.
    module.log_dict(
        {f"{stage}/{name}": value for name, value in values.items()},
        batch_size=float(count),  # type: ignore[arg-type]
        on_epoch=True,
        sync_dist=True,
    )
