"""Random changes to whole batches of training images, on whatever device they lie."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gvae.errors import checked_count

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Mirrors, shifts and dequantises images; the same key makes the same changes.

    Args:
        hflip: Mirror each image with probability 1/2.
        max_shift: Shift each image by a whole number of pixels, -max_shift..max_shift, along each axis; pixels that
            come in repeat the border.
        dequantise: Return ``(x + u) / 256``, ``u`` uniform in [0, 1), instead of ``x``: continuous likelihoods need
            data with a density (Theis, van den Oord, Bethge, A note on the evaluation of generative models, 2016).

    Raises:
        ConfigError: ``max_shift`` is not an integer of at least 0.
    """

    hflip: bool = False
    max_shift: int = 0
    dequantise: bool = False

    def __post_init__(self) -> None:
        checked_count("max_shift", self.max_shift, least=0, unit="pixels")

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self.hflip or self.max_shift > 0 or self.dequantise

    def __call__(self, images: Tensor, key: int) -> Tensor:
        """Changed images ``(B, C, H, W)`` of uint8 images: uint8 again, or fp32 in [0, 1) if dequantised.

        Args:
            images: uint8 ``(B, C, H, W)``.
            key: Key of the random stream, for example of :func:`~lightning_gvae.rng.stream_key`.
        """
        generator = torch.Generator(device=images.device)
        generator.manual_seed(key & (2**63 - 1))
        if self.hflip:
            mirrored = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
            images = torch.where(mirrored, images.flip(-1), images)
        if self.max_shift:
            images = self._shifted(images, generator)
        if self.dequantise:
            noise = torch.rand(images.shape, generator=generator, device=images.device)
            # Rounding may take the largest sum to 256.
            images = ((images + noise) / 256).clamp_(max=1 - 2**-24)
        return images

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        low, high = -self.max_shift, self.max_shift + 1
        shift = torch.randint(low, high, (2, count, 1), generator=generator, device=images.device)
        rows = (torch.arange(height, device=images.device) + shift[0]).clamp_(0, height - 1)
        columns = (torch.arange(width, device=images.device) + shift[1]).clamp_(0, width - 1)
        each = torch.arange(count, device=images.device)[:, None, None]
        return images.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
