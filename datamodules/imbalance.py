"""Leaves out some of the images of a class, to study what unbalanced data do."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.batches import ImageSource
from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.rng import numpy_stream

__all__ = ["checked_shares", "kept"]

CHUNK = 4096


def checked_shares(shares: Mapping[int, float] | None, classes: int | None) -> dict[int, float]:
    """Shares of classes by their number.

    Raises:
        ConfigError: The data have no labels, there is no such class, or a share is not in (0, 1].
    """
    if not shares:
        return {}
    if classes is None:
        raise ConfigError("`class_shares` needs data whose targets are labels")
    for label, share in shares.items():
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
            raise ConfigError(f"`class_shares` must name classes 0..{classes - 1}, got {label!r}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"`class_shares` must keep shares in (0, 1], got {share!r} of class {label}")
    return {int(label): float(share) for label, share in shares.items()}


def kept(source: ImageSource, shares: Mapping[int, float]) -> npt.NDArray[np.bool_]:
    """Mask of the images of a source that stay, ``(N,)``; the same ones whatever the seed of the run.

    Args:
        source: Images with labels.
        shares: Share of a class that stays, rounded to whole images; classes that are not named stay.

    Raises:
        DataError: A class has no image, or would have none left.
    """
    starts = range(0, len(source), CHUNK)
    labels = np.concatenate(
        [source.batch(np.arange(at, min(at + CHUNK, len(source))))[1].cpu().numpy() for at in starts]
    )
    stays = np.ones(len(labels), dtype=bool)
    for label, share in shares.items():
        members = np.flatnonzero(labels == label)
        count = round(share * len(members))
        if not count:
            raise DataError(f"`class_shares` leaves none of the {len(members)} images of class {label}; keep more")
        # A stream without the run's seed: all runs of a study have the same images.
        order = numpy_stream(0, "class_shares", label).permutation(len(members))
        stays[members[order[count:]]] = False
    return stays
