"""Probes: the accuracy of classifiers that learn from a candidate's codes."""

from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor

from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, CandidateImages
from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import EncodesFeatures, require
from lightning_gvae.metrics.probes import linear_probe, mlp_probe

__all__ = ["Probes"]

NUMBERS = 2**27  # most numbers of codes kept at a time; longer codes are probed on fewer images
CHUNK = 256


@dataclass(frozen=True)
class Probes:
    """Measures a trained module by probes on its frozen codes.

    Args:
        mlp: Also the small network, not the linear probe alone.
        images: Training images at most.
        on: Part that the probes are scored on: ``test``, or ``score``, the part that gives the loss.
    """

    mlp: bool = True
    images: int = 10_000
    on: str = "test"

    def __call__(self, module: L.LightningModule, data: CandidateData, seed: int) -> dict[str, float]:
        """``probe_accuracy``, ``probe_loss``, the same of the network, and the number of images used.

        Raises:
            ConfigError: The data has no labels.
        """
        test: CandidateImages = getattr(data, self.on)
        if data.train.labels.ndim != 1:
            raise ConfigError("probes need one label an image; this data set has factors or none")
        classes = int(max(data.train.labels.max(), test.labels.max())) + 1
        model = require(module, EncodesFeatures, "a probe", "Choose another model")
        model.eval()
        with torch.no_grad():
            length = _codes(model, data.train.first(1))[0].shape[1]
            count = min(self.images, max(classes, NUMBERS // length))
            train, other = _codes(model, data.train.first(count)), _codes(model, test.first(count))
        linear = linear_probe(train, other, classes, seed)
        values = {"probe_accuracy": linear.accuracy, "probe_loss": linear.loss, "probe_images": float(len(train[0]))}
        if self.mlp:
            network = mlp_probe(train, other, classes, seed)
            values |= {"mlp_probe_accuracy": network.accuracy, "mlp_probe_loss": network.loss}
        return values


def _codes(module: EncodesFeatures, part: CandidateImages) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(part.images)
    codes = [module.features(module.prepare(chunk.to(module.device))).float() for chunk in images.split(CHUNK)]
    return torch.cat(codes), torch.as_tensor(part.labels, device=module.device)
