"""Contenders of ``benchmarks.peers`` that this environment can run, each in a process of its own.

    python -m benchmarks.contenders bare mlp28        # waits for the word of benchmarks.peers on its input

``bare`` is a tensor in memory, ``randperm`` and plain Adam, nothing logged; ``bare_best`` the same with fused Adam and
the allocator set as in ours: what is left is what a Trainer costs. ``ptvae`` is a loop in the manner of PyTorch-VAE:
images made one by one, the losses taken from the device and logged at every step, a monitor of the learning rate,
checkpoints and a progress bar.
"""

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, bare_loop, images_for, make_model
from benchmarks.turns import Pause
from lightning_gvae.runtime import keep_freed_memory, settle_gpu_check

__all__ = ["CONTENDERS"]


def bare(case: dict[str, Any], fused: bool = False) -> None:
    settle_gpu_check()  # a loop without Lightning has nothing to settle
    images = images_for(case)
    _follow(bare_loop(case, images, fused))


def bare_best(case: dict[str, Any]) -> None:
    keep_freed_memory()
    bare(case, fused=True)


def _follow(loop: Iterator[None]) -> None:
    pause = Pause()
    while pause.step():
        next(loop)


class OneByOne(Dataset):
    """An image at a time, converted when it is asked for."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].float().div(255), 0


class Experiment(L.LightningModule):
    """Training as it is often written: everything logged, at every step, as a number."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__()
        self.model = make_model(case)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, _ = batch
        terms = self.model.elbo_terms(images)
        loss = terms.recon + terms.kl
        losses = {"loss": loss, "Reconstruction_Loss": terms.recon.detach(), "KLD": -terms.kl.detach()}
        self.log_dict({name: value.item() for name, value in losses.items()}, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)]


def ptvae(case: dict[str, Any]) -> None:
    images = images_for(case)
    loader = DataLoader(OneByOne(images), batch_size=case["batch_size"], shuffle=True, drop_last=True)
    with tempfile.TemporaryDirectory() as folder:
        saved = ModelCheckpoint(folder, save_top_k=2, monitor="loss", save_last=True)
        callbacks = [LearningRateMonitor(), saved, Pausing()]
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1_000_000, callbacks=callbacks, logger=CSVLogger(folder), log_every_n_steps=50
        )
        trainer.fit(Experiment(case), loader)


CONTENDERS = {"bare": bare, "bare_best": bare_best, "ptvae": ptvae}

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](CASES[sys.argv[2]])
