"""A whole data set on the device, where batches are gathered without a copy from the host."""

import numpy as np
import torch

from lightning_gvae.datamodules.batches import Batch, ImageSource, Indices, Split
from lightning_gvae.datamodules.staging import to_device
from lightning_gvae.devices import free_memory
from lightning_gvae.errors import DataError, say

__all__ = ["DeviceCache", "DeviceImages"]

CHUNK = 8192  # images copied at a time
SHARE = 0.25  # of an accelerator's free memory, which a set may fill without being asked to


class DeviceImages:
    """Images and targets of a source, copied to a device once, in their own types: images as uint8.

    Args:
        source: Where they come from.
        device: Where they shall lie.
        name: Name of the data set, for messages.

    Raises:
        DataError: The device has not enough memory left.
    """

    def __init__(self, source: ImageSource, device: torch.device, name: str) -> None:
        self.device = device
        needed, free = bytes_of(source), free_memory(device)
        if free is not None and needed > free:
            raise DataError(
                f"`device_cache` needs {needed / 1e9:.1f} GB for {name}, but {device} has {free / 1e9:.1f} GB free;"
                " set data.device_cache=false"
            )
        images, targets = source.batch(np.arange(min(1, len(source))))
        self._images = torch.empty((len(source), *images.shape[1:]), dtype=images.dtype, device=device)
        self._targets = torch.empty((len(source), *targets.shape[1:]), dtype=targets.dtype, device=device)
        for start in range(0, len(source), CHUNK):
            stop = min(start + CHUNK, len(source))
            images, targets = source.batch(np.arange(start, stop))
            self._images[start:stop], self._targets[start:stop] = images.to(device), targets.to(device)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Indices) -> Batch:
        """Images and targets at ``indices``, on the device."""
        chosen = torch.from_numpy(np.ascontiguousarray(indices))
        if self.device.type != "cpu":
            (chosen,) = to_device([chosen], self.device)
        return self._images.index_select(0, chosen), self._targets.index_select(0, chosen)


class DeviceCache:
    """Data sets on the device, each copied there once: when that is asked for, or by itself where there is room.

    Args:
        wanted: Whether they shall lie there; None: on an accelerator, if a set fills at most a quarter of its free
            memory.
        name: Name of the data, for messages.
    """

    def __init__(self, wanted: bool | None, name: str) -> None:
        self.wanted, self._name = wanted, name
        self._cached: dict[int, DeviceImages] = {}
        self._refused: set[int] = set()  # ids of sources that stay where they are

    def placed(self, part: Split, device: torch.device) -> Split:
        """A part of the data, on the device if its source is to lie there.

        Raises:
            DataError: That was asked for, and the device has not enough memory left.
        """
        key = id(part.source)
        cached = self._cached.get(key)
        if cached is None or cached.device != device:
            if not self._has_room(part.source, device):
                return part
            cached = self._cached[key] = DeviceImages(part.source, device, self._name)
        return Split(part.name, cached, part.indices)

    def _has_room(self, source: ImageSource, device: torch.device) -> bool:
        if self.wanted is not None:
            return self.wanted
        free = None if id(source) in self._refused else free_memory(device)
        if free is None or (needed := bytes_of(source)) > SHARE * free:
            self._refused.add(id(source))  # once for a run: the next loader would find less memory free
            return False
        say(
            f"{self._name}: all {len(source):,} items lie on {device} ({needed / 1e6:,.1f} MB of {free / 1e9:.1f} GB "
            "free); data.device_cache=false leaves them on the host"
        )
        return True


def bytes_of(source: ImageSource) -> int:
    """Memory that images and targets take, as large as the first is."""
    if not len(source):
        return 0
    images, targets = source.batch(np.arange(1))
    return len(source) * (images.nbytes + targets.nbytes)
