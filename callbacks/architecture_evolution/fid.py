"""FID of a candidate's reconstructions, in the feature space of the data set's own classifier."""

from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
import torch

from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, CandidateImages
from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.feature_cache import domain_of
from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.evolution.architecture.group import SearchGroup
from lightning_gvae.interfaces import Autoencoder, DataModule, require
from lightning_gvae.metrics.fidelity.domain import DomainSpace
from lightning_gvae.metrics.fidelity.features import FeatureSpace
from lightning_gvae.metrics.fidelity.fid import fid
from lightning_gvae.metrics.fidelity.statistics import Moments, moments_of_images

__all__ = ["ReconstructionFid", "shared_space"]

CHUNK = 256


@dataclass
class ReconstructionFid:
    """FID between images and their own reconstructions.

    Of reconstructions and not of samples: a deterministic autoencoder has no prior, and what its decoder makes of
    random codes, or of codes from a Gaussian with the moments of all codes, says nothing about it. The number says how
    much of what a classifier looks at gets through the code.

    Args:
        space: The feature space.
        on: Part of the data: ``score``, the part that gives the loss, or ``test``.
        name: Of the number.
    """

    space: FeatureSpace
    on: str = "score"
    name: str = "fid"
    _real: dict[str, Moments] = field(default_factory=dict, repr=False)

    def check(self, data: CandidateData) -> None:
        """Refuse before training what would fail every candidate.

        Raises:
            ConfigError: Fewer images than a covariance needs.
        """
        images, least = len(getattr(data, self.on)), self.space.dims + 1
        if images < least:
            raise ConfigError(
                f"the FID of a candidate needs at least {least} images in the space {self.space.name}, got {images}; "
                "raise `training.score_images`, or hold out more images"
            )

    def __call__(self, module: L.LightningModule, data: CandidateData, seed: int) -> dict[str, float]:
        """The FID; comparable between candidates, which all are scored on the same images."""
        part: CandidateImages = getattr(data, self.on)
        images = torch.from_numpy(part.images)
        if self.on not in self._real:
            self._real[self.on] = moments_of_images(self.space, images, CHUNK)
        own = require(module, Autoencoder, "the FID of reconstructions", "Choose another objective")
        own.eval()
        with torch.no_grad():
            again = (own.reconstruct(own.prepare(chunk.to(own.device))).clamp(0, 1) for chunk in images.split(CHUNK))
            made = moments_of_images(self.space, again)
        return {self.name: fid(made, self._real[self.on]).value}


def shared_space(
    group: SearchGroup, datamodule: DataModule, cache_dir: str | Path | None, device: torch.device, threads: int
) -> DomainSpace:
    """The feature space ``domain`` of a data module: rank 0 learns it or reads it from the cache, all ranks have it.

    Raises:
        ConfigError: The data have no labels, or their images are too small.
    """

    def make() -> DomainSpace:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)  # the weights depend on them in the last digits
        try:
            cache = None if cache_dir is None else Path(cache_dir)
            return domain_of(RealData(datamodule), cache)
        finally:
            torch.set_num_threads(before)

    space: DomainSpace = group.from_first(make)
    return DomainSpace(space.net, space.shape, space.space.trained_on, space.space.accuracy or 0.0, device)
