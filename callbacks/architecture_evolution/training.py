"""Trains one candidate with a Trainer of its own, inside another Trainer's run or in a process of its own."""

import gc
import logging
import math
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from safetensors.torch import load_file
from torch import Tensor
from torchmetrics import Metric

from lightning_gvae.callbacks.architecture_evolution.settings import CandidateTrainingSettings
from lightning_gvae.callbacks.channels_last import ChannelsLast
from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.errors import NonFiniteError
from lightning_gvae.evolution.architecture.candidate_trainers import Result
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_tensors
from lightning_gvae.rng import numpy_stream
from lightning_gvae.runtime import settle_gpu_check

__all__ = ["CandidateData", "CandidateImages", "CandidateTraining", "quiet", "read_candidate", "weights_file"]


@dataclass(frozen=True)
class CandidateImages:
    """Images and labels in memory; can be sent to other processes.

    Args:
        images: uint8 ``(N, C, H, W)``.
        labels: int64 ``(N,)`` or ``(N, F)``.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        # An axis of length 1 may have any stride, and torch takes some for "channels last", which rounds otherwise. A
        # copy has the strides that a pickled array has, so that all processes round alike.
        object.__setattr__(self, "images", np.array(self.images, order="C"))

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int | None) -> "CandidateImages":
        """At most ``count`` of them."""
        return self if count is None else CandidateImages(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class CandidateData:
    """Data that candidates are trained, stopped and scored on.

    Args:
        train: To train on.
        val: Decides when to stop.
        score: Gives the loss; the validation part, or as in the paper the test part.
        test: For the probes.
    """

    train: CandidateImages
    val: CandidateImages
    score: CandidateImages
    test: CandidateImages


class Batches:
    """Batches of a part on a device; training visits a fresh permutation every epoch.

    No process group is asked: a candidate belongs to one process.
    """

    def __init__(self, part: CandidateImages, batch_size: int, device: torch.device, seed: int | None = None) -> None:
        self.images = torch.as_tensor(part.images, device=device)
        self.labels = torch.as_tensor(part.labels, device=device)
        self.batch_size, self.seed, self._epoch = min(batch_size, len(part)), seed, 0

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Stand-in in which Lightning looks for ``set_epoch``."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is."""
        self._epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + bool(rest and self.seed is None)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.batch_size
        for number in range(len(self)):
            if number == 0:
                order = self._order()  # Lightning announces the epoch after `iter`, before the first batch
            chosen = order[number * size : (number + 1) * size]
            yield self.images[chosen], self.labels[chosen]

    def _order(self) -> Tensor:
        count = len(self.images)
        if self.seed is None:
            return torch.arange(count, device=self.images.device)
        order = numpy_stream(self.seed, "candidate-permutation", self._epoch).permutation(count)
        return torch.from_numpy(order).to(self.images.device)


@dataclass
class CandidateTraining:
    """Trains the network of a genome and says how it reconstructs.

    Everything follows from genome and seed; no global generator is left changed. Weights go to ``save_to``, if given.

    Args:
        make: Makes a module from ``genome`` (as ``Genome.to_dict`` writes it) and ``seed``.
        data: What to train on.
        known: Numbers that are known without training, by name.
        settings: Length of the training, batches and threads; how many images there are is settled by ``data``.
        device: Where to train.
        save_to: Folder for the weights.
        start_from: Folder of weights to go on from; without, from the seed's initial weights.
        measure: Further numbers of the trained module, for example the accuracy of a probe.
        only_score: Whether the module is scored as it is, without training.
        precision: Of the nested Trainer.
        channels_last: Whether convolutions find their channels innermost in memory: on the CPU half as fast again, and
            equal up to rounding. Weights are saved as ever.
    """

    make: Callable[..., L.LightningModule]
    data: CandidateData
    known: Callable[[Genome], Mapping[str, float]]
    settings: CandidateTrainingSettings = field(default_factory=CandidateTrainingSettings)
    device: str = "cpu"
    save_to: Path | None = None
    start_from: Path | None = None
    measure: Callable[[L.LightningModule, CandidateData, int], Mapping[str, float]] | None = None
    only_score: bool = False
    precision: str = "32-true"
    channels_last: bool = True
    _loaders: dict[str, Batches] = field(default_factory=dict, repr=False, init=False)

    def __call__(self, genome: Genome, seed: int) -> Result:
        """Train, score and save.

        Raises:
            NonFiniteError: The loss is not a number.
        """
        device = torch.device(self.device)
        threads = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads)
        settle_gpu_check()  # in a process of its own nobody has
        try:
            with _swept(), preserved_rng(device), torch.inference_mode(False), torch.enable_grad(), quiet():
                _seed_globals(seed, device)
                return self._train(genome, seed, device)
        finally:
            torch.set_num_threads(threads)

    def _train(self, genome: Genome, seed: int, device: torch.device) -> Result:
        module = self.make(genome=genome.to_dict(), seed=seed)
        module.configure_model()
        for child in module.modules():
            if isinstance(child, Metric):
                # A metric asks all processes for their share; here each of them has another candidate.
                child.distributed_available_fn = _alone
        if self.start_from is not None:
            module.load_state_dict(read_candidate(self.start_from, genome))
        patience = self.settings.patience
        stopping = [] if patience is None else [EarlyStopping("val/recon", patience=patience)]
        layout = [ChannelsLast()] if self.channels_last else []
        trainer = self._trainer(device, [*layout, FiniteGuard(), *stopping])
        val = self._batches("val", device)
        if not self.only_score:
            trainer.fit(module, Batches(self.data.train, self.settings.batch_size, device, seed), val)
        if self.data.score is not self.data.val or self.only_score:
            trainer.validate(module, self._batches("score", device), verbose=False)
        pixels = math.prod(self.data.train.images.shape[1:])
        loss = float(trainer.callback_metrics["val/recon"]) / pixels
        if not math.isfinite(loss):
            raise NonFiniteError(f"the validation loss is {loss}")
        values = {**self.known(genome), "loss": loss, "epochs": float(trainer.current_epoch)}
        if self.measure is not None:
            values |= self.measure(module.to(device), self.data, seed)
        if self.save_to is not None:
            write_tensors(weights_file(self.save_to, genome), module.state_dict())
        return Result(values)

    def _trainer(self, device: torch.device, callbacks: list[L.Callback]) -> L.Trainer:
        return L.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=1,
            # With "auto" every rank of the outer run would take the first device.
            strategy=SingleDeviceStrategy(device=device),
            precision=self.precision,  # type: ignore[arg-type]
            max_epochs=self.settings.epochs,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10**9,
        )

    def _batches(self, name: str, device: torch.device) -> Batches:
        if name not in self._loaders:
            self._loaders[name] = Batches(getattr(self.data, name), self.settings.batch_size, device)
        return self._loaders[name]

    def __getstate__(self) -> dict[str, Any]:
        """Without the tensors that lie on this process's device."""
        return self.__dict__ | {"_loaders": {}}


@contextmanager
def _swept() -> Iterator[None]:
    """Free what is made inside: trainer and module hold each other, and the network's memory with them.

    What was there before is set aside while that garbage is looked for: a whole collection takes as long as a small
    candidate.
    """
    aside = gc.get_freeze_count() == 0  # else somebody has set things aside for good
    if aside:
        gc.freeze()
    try:
        yield
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold the network of a candidate that failed
        raise
    finally:
        gc.collect()
        if aside:
            gc.unfreeze()


def _alone() -> bool:
    return False


def weights_file(folder: Path, genome: Genome) -> Path:
    """Path of the weights of a genome's network."""
    return folder / f"{text_hash(genome.key)}.safetensors"


def read_candidate(folder: Path, genome: Genome) -> dict[str, Tensor]:
    """Weights of a genome's network, on the CPU; nothing is executed.

    Raises:
        OSError: There are none.
    """
    return load_file(weights_file(folder, genome))


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what a Trainer says about itself: there are hundreds of them."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.* is deprecated")
            warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging interval")
            yield
    finally:
        logger.setLevel(level)


def _seed_globals(seed: int, device: torch.device) -> None:
    """For layers and data that know no other generator; not `seed_everything`, which the outer run's ranks re-read."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device.type).manual_seed(seed)
