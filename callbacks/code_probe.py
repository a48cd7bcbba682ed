"""Accuracy of a classifier on the codes of the trained network, measured when a run is tested."""

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gvae.callbacks.architecture_evolution.data import candidate_images
from lightning_gvae.callbacks.architecture_evolution.probes import Probes
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData
from lightning_gvae.errors import checked_count
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.interfaces import DataModule, offers
from lightning_gvae.lightning_compat import datamodule_of

__all__ = ["CodeProbe"]


class CodeProbe(L.Callback):
    """Logs ``test/probe_accuracy`` and ``test/probe_loss`` (nats) of a linear probe on frozen codes, and the same of a
    small network as ``test/mlp_probe_accuracy`` and ``test/mlp_probe_loss``.

    Probes learn from training images and are scored on test images. Every rank computes the same numbers from the same
    streams; no global generator is touched. Data without one label an image are not probed.

    Args:
        images: Images of either part, at most.
        seed: Seed of the probes.

    Raises:
        ConfigError: ``images`` is below 1.
    """

    def __init__(self, images: int = 10_000, seed: int = 0) -> None:
        self.images, self.seed = checked_count("images", images, unit="images"), seed

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Probe and log."""
        data = datamodule_of(trainer)
        if not offers(data, DataModule) or data.spec.num_classes is None:
            rank_zero_warn("CodeProbe: the data have not one label an image, so the code is not probed")
            return
        train, test = (candidate_images(part, self.images) for part in (data.train_set, data.test_set))
        parts = CandidateData(train, test, test, test)
        was_training = pl_module.training
        # Lightning tests in inference mode, in which nothing can be trained.
        with torch.inference_mode(False), torch.enable_grad(), preserved_rng(pl_module.device):
            values = Probes(images=self.images)(pl_module, parts, self.seed)
        pl_module.train(was_training)
        scores = {f"test/{name}": value for name, value in values.items() if name != "probe_images"}
        pl_module.log_dict(scores, sync_dist=True)  # the mean of equal numbers
