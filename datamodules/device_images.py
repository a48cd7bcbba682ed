"""A whole data set on the device, where batches are gathered without a copy from the host."""

import numpy as np
import torch

from lightning_gvae.datamodules.batches import Batch, ImageSource, Indices
from lightning_gvae.errors import DataError

__all__ = ["DeviceImages"]

CHUNK = 8192  # images copied at a time


class DeviceImages:
    """Images and targets of a source, copied to a device once, as uint8 and int64.

    Args:
        source: Where they come from.
        device: Where they shall lie.
        name: Name of the data set, for messages.

    Raises:
        DataError: The device has not enough memory left.
    """

    def __init__(self, source: ImageSource, device: torch.device, name: str) -> None:
        self.device = device
        images, targets = source.batch(np.arange(min(1, len(source))))
        needed = len(source) * (images[0].nbytes + targets[0].nbytes) if len(source) else 0
        if device.type == "cuda" and needed > (free := torch.cuda.mem_get_info(device)[0]):
            raise DataError(
                f"`device_cache` needs {needed / 1e9:.1f} GB for {name}, but {device} has {free / 1e9:.1f} GB free;"
                " set data.device_cache=false"
            )
        self._images = torch.empty((len(source), *images.shape[1:]), dtype=torch.uint8, device=device)
        self._targets = torch.empty((len(source), *targets.shape[1:]), dtype=torch.int64, device=device)
        for start in range(0, len(source), CHUNK):
            stop = min(start + CHUNK, len(source))
            images, targets = source.batch(np.arange(start, stop))
            self._images[start:stop], self._targets[start:stop] = images.to(device), targets.to(device)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Indices) -> Batch:
        """Images and targets at ``indices``, on the device."""
        chosen = torch.from_numpy(np.ascontiguousarray(indices)).to(self.device, non_blocking=True)
        return self._images.index_select(0, chosen), self._targets.index_select(0, chosen)
