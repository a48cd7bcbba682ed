"""One chain of image models: fit, sample, fit to the samples, and so on; every generation is kept.

A generation lies in ``generations/<g>/``: ``samples.npz`` (``images`` uint8 ``(M, C, H, W)`` and ``labels``, the frozen
classifier's), ``model.safetensors``, ``circumstances.json`` and, written last, ``metrics.json``. A chain that was
broken off repeats at most the generation in which it was, and ends with the numbers of an uninterrupted one: every draw
comes from a stream keyed by seed and generation.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from lightning_gvae.callbacks.finite_guard import FiniteGuard
from lightning_gvae.collapse.policies import Policy, real_images_needed, training_set
from lightning_gvae.datamodules.base import ImageArrays
from lightning_gvae.datamodules.batches import BatchLoader, Split
from lightning_gvae.errors import ConfigError, DataError, checked_count
from lightning_gvae.interfaces import DecodesNoise, GenerativeModel, HasLikelihood, LoadableData, encodes, require
from lightning_gvae.io.files import write_arrays, write_json, write_tensors
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.rng import numpy_stream, stream_key, torch_stream
from lightning_gvae.studies.collapse.metrics import Judge

__all__ = [
    "ChainSettings",
    "build_model",
    "draw_samples",
    "generation_circumstances",
    "generation_folder",
    "read_samples",
    "run_chain",
]

Images = npt.NDArray[np.uint8]
Factory = Callable[..., L.LightningModule]
BATCH = 500
CIRCUMSTANCES = "circumstances.json"
WHO = "a chain of generations (study.models)"


class ChainModel(GenerativeModel, DecodesNoise, Protocol):
    """Model that a chain samples and keeps."""

    @property
    def hparams(self) -> Mapping[str, Any]:
        """Arguments that it was made with."""


@dataclass(frozen=True)
class ChainSettings:
    """Settings of a chain.

    Args:
        generations: G, number of fits, the first one to real images.
        train_images: N, real images of generation 0.
        samples: M, images drawn from every model; None is N.
        steps: Optimiser steps of every fit, whatever the size of the training set.
        batch_size: Images a step.
        score_images: Real test images at most that samples are compared with.
        sampling_bias: Factor on the latents' noise: below 1 samples are typical, above 1 varied.
        warm_start: Whether a model starts from the weights of the one before it; else from new ones.
        accelerator: ``cpu``, ``gpu`` or ``auto``; one device.

    Raises:
        ConfigError: A number is out of range.
    """

    generations: int = 9
    train_images: int = 5000
    samples: int | None = None
    steps: int = 500
    batch_size: int = 64
    score_images: int = 5000
    sampling_bias: float = 1.0
    warm_start: bool = False
    accelerator: str = "cpu"

    def __post_init__(self) -> None:
        checked_count("generations", self.generations, least=2, unit="fits, the first one to real images")
        for name in ("train_images", "steps", "batch_size", "score_images"):
            checked_count(name, getattr(self, name))
        if self.samples is not None:
            checked_count("samples", self.samples, unit="images a generation")
        if not 0 < self.sampling_bias < float("inf"):
            raise ConfigError(f"`sampling_bias` must be a positive factor on the latents, got {self.sampling_bias}.")

    @property
    def drawn(self) -> int:
        """M."""
        return self.train_images if self.samples is None else self.samples


def run_chain(
    place: Path,
    name: str,
    factory: Factory,
    datamodule: LoadableData,
    policy: Policy,
    seed: int,
    settings: ChainSettings,
    cache_dir: Path | None = None,
    tick: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Run what is missing of a chain.

    Args:
        place: Folder of the chain.
        name: Of the model, kept with its weights.
        factory: ``(image_shape, seed) -> model``, such as a class of :mod:`~lightning_gvae.models` or a partial of one.
        datamodule: Labelled images; its training images are the real ones, its test images judge.
        policy: What later generations are trained on.
        seed: Of the chain.
        settings: How it is run.
        cache_dir: Folder in which the classifier is kept.
        tick: Called after every generation.

    Returns:
        Metrics of every generation, ``generation`` and ``real_share`` among them.

    Raises:
        ConfigError: There are too few real images, or too few samples for the scores.
        NonFiniteError: A model's loss became NaN.
    """
    datamodule.prepare_data()
    datamodule.setup("fit")
    split = datamodule.train_set
    needed = real_images_needed(policy, settings.train_images, settings.drawn, settings.generations)
    if needed > len(split):
        raise ConfigError(
            f"{settings.generations} generations under {policy.label} need {needed} real images, "
            f"{datamodule.spec.name}/train "
            f"has {len(split)}; lower `train_images`, `generations` or `fresh`."
        )
    files = [generation_folder(place, number) / "metrics.json" for number in range(settings.generations)]
    if all(file.is_file() for file in files):
        for _ in files:
            tick()
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]
    order = numpy_stream(seed, "collapse/real").permutation(len(split))[:needed]
    real = split.batch(order)[0].cpu().numpy()
    device = "cpu" if settings.accelerator == "cpu" or not torch.cuda.is_available() else "cuda"
    judge = Judge(datamodule, settings.score_images, real[: settings.train_images], cache_dir, device)
    judge.require(settings.drawn)

    @lru_cache(maxsize=None if policy.name.startswith("accumulate") else 1)
    def drawn(number: int) -> Images:
        return read_samples(generation_folder(place, number))

    for generation, file in enumerate(files):
        if not file.is_file():
            started = time.monotonic()
            chosen = training_set(
                policy, generation, real, settings.train_images, settings.drawn, drawn, stream_key(seed, "subsample")
            )
            model = build_model(factory, real.shape[1:], seed, generation)
            kept = require(model, ChainModel, WHO)
            if settings.warm_start and generation > 0:
                model.load_state_dict(load_file(generation_folder(place, generation - 1) / "model.safetensors"))
            _fit(model, chosen.images, settings, stream_key(seed, "collapse/order", generation) & (2**31 - 1), place)
            facts = {"model": name, "policy": policy.label, "seed": seed, "generation": generation}
            facts |= {"real_share": chosen.real_share, "train_images": len(chosen.images)}
            _keep(generation_folder(place, generation), kept, judge, settings, facts, started)
        tick()
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def generation_folder(place: Path, generation: int) -> Path:
    """Folder of a generation of a chain."""
    return place / "generations" / f"{generation:03d}"


def generation_circumstances(place: Path) -> list[dict[str, Any]]:
    """Circumstances of every generation of a chain; empty where an earlier release kept none."""
    folders = sorted((place / "generations").glob("*"))
    files = [folder / CIRCUMSTANCES for folder in folders]
    return [json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {} for file in files]


def read_samples(folder: Path) -> Images:
    """Samples of a generation, uint8 ``(M, C, H, W)``.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = folder / "samples.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # NumPy leaves damaged files open
            images: Images = arrays["images"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); delete the folder {folder} and run the study again"
        ) from error
    return images


def build_model(factory: Factory, image_shape: tuple[int, ...], seed: int, generation: int) -> L.LightningModule:
    """A model whose first weights and noise are those of the stream (seed, generation); no global generator moves."""
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        torch.manual_seed(stream_key(seed, "collapse/weights", generation) & (2**63 - 1))
        return factory(
            image_shape=tuple(image_shape), seed=stream_key(seed, "collapse/noise", generation) & (2**31 - 1)
        )


@torch.no_grad()
def draw_samples(model: DecodesNoise, count: int, seed: int, generation: int, bias: float = 1.0) -> Images:
    """``count`` images uint8 ``(count, C, H, W)`` decoded from ``bias`` times standard normal noise."""
    stream, parts = torch_stream(seed, "collapse/samples", generation), []
    model.eval()
    for start in range(0, count, BATCH):
        noise = bias * torch.randn(min(BATCH, count - start), model.latent_dim, generator=stream)
        images = model.decode_noise(noise.to(model.device))
        parts.append((images.clamp(0, 1) * 255).round().to(torch.uint8).cpu())
    return torch.cat(parts).numpy()


def _fit(model: L.LightningModule, images: Images, settings: ChainSettings, seed: int, place: Path) -> None:
    arrays = ImageArrays(images, np.zeros(len(images), dtype=np.int64))
    split = Split("collapse/train", arrays, np.arange(len(images)))
    loader = BatchLoader(split, settings.batch_size, training=True, seed=seed)
    with _quiet():
        trainer = L.Trainer(
            accelerator=settings.accelerator,
            devices=1,
            max_steps=settings.steps,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=0,
            callbacks=[FiniteGuard()],
            default_root_dir=place,
        )
        trainer.fit(model, train_dataloaders=loader)


def _keep(
    folder: Path, model: ChainModel, judge: Judge, settings: ChainSettings, facts: dict[str, Any], started: float
) -> None:
    """Sample, score and write a generation; what says that it is finished is written last."""
    images = draw_samples(model, settings.drawn, facts["seed"], facts["generation"], settings.sampling_bias)
    scores, features = judge.scores(images)
    if encodes(model):
        scores |= judge.posterior_scores(require(model, HasLikelihood, WHO))
    labels = judge.labels(features)
    write_arrays(folder / "samples.npz", {"images": images, "labels": labels}, compress=True)
    weights = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    about = {name: json.dumps(value) for name, value in facts.items()}
    about |= {"class": type(model).__name__, "settings": json.dumps(asdict(settings))}
    about["hyper_parameters"] = json.dumps(dict(model.hparams), default=str)
    write_tensors(folder / "model.safetensors", weights, about)
    run = circumstances() | {"device": str(model.device), "wall_seconds": time.monotonic() - started}
    write_json(folder / CIRCUMSTANCES, run, indent=1)
    write_json(folder / "metrics.json", facts | scores, indent=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says at the start of every fit."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You defined a `validation_step` but have no `val_dataloader`")
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.* is deprecated")  # inside Lightning
            yield
    finally:
        logger.setLevel(before)
