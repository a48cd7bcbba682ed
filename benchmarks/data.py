"""Our loaders against torchvision's data sets in a DataLoader, and the share of the input in a training step.

    GVAE_DATA_DIR=... python -m benchmarks.data [--turns 5] [--seconds 2]

Both sides deliver the same shuffled batches of floats in [0, 1]; theirs is the better of 0 and 2 workers, measured
after the workers have started. All contenders take turns inside one process and ratios are formed turn by turn. Needs
the official files of MNIST, CIFAR-10 and a set in CelebA's layout in ``GVAE_DATA_DIR``; what is missing is left out.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.figures import Figure
from benchmarks.throughput import default_trainer, spread
from lightning_gvae.datamodules.base import ImageDataModule
from lightning_gvae.datamodules.celeba import CelebADataModule
from lightning_gvae.datamodules.cifar import CIFAR10DataModule
from lightning_gvae.datamodules.dsprites import DSpritesDataModule
from lightning_gvae.datamodules.mnist import FILES, MNISTDataModule
from lightning_gvae.models import VAE

BATCH = 128


class UncheckedCIFAR10(datasets.CIFAR10):
    """Reads subsets too, whose checksums are not the official ones."""

    meta = {**datasets.CIFAR10.meta, "md5": None}  # noqa: RUF012

    def _check_integrity(self) -> bool:
        return True


class UncheckedCelebA(datasets.CelebA):
    """Reads any set in CelebA's layout."""

    def _check_integrity(self) -> bool:
        return True


def linked(folder: Path, name: str, target: Path) -> str:
    """A folder in which torchvision finds ``target`` under the name that it expects."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)
    return str(folder)


def mnist(data: Path, scratch: Path) -> tuple[ImageDataModule, Any]:
    for file in FILES:
        linked(scratch, f"MNIST/raw/{file}.gz", data / "mnist" / f"{file}.gz")
    # Unpacks the linked files beside the links.
    return MNISTDataModule(data / "mnist"), datasets.MNIST(str(scratch), download=True, transform=transforms.ToTensor())


def cifar10(data: Path, scratch: Path) -> tuple[ImageDataModule, Any]:
    root = data / "cifar10_subset"
    batches = next(path for path in (root / "cifar-10-batches-py", root) if (path / "data_batch_1").is_file())
    theirs = UncheckedCIFAR10(linked(scratch, "cifar-10-batches-py", batches), transform=transforms.ToTensor())
    return CIFAR10DataModule(root, val_size=500), theirs


def celeba(data: Path, scratch: Path) -> tuple[ImageDataModule, Any]:
    root = data / "faces_ytf_celeba_layout"
    steps = transforms.Compose([transforms.CenterCrop(148), transforms.Resize(64), transforms.ToTensor()])
    theirs = UncheckedCelebA(linked(scratch, "celeba", root), transform=steps)
    return CelebADataModule(root, cache_dir=scratch / "cache"), theirs


SETS: dict[str, Callable[[Path, Path], tuple[ImageDataModule, Any]]] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "celeba layout, cached": celeba,
}


def endless(loader: Any, convert: bool) -> Iterator[None]:
    """One batch of floats per ``next``, epoch after epoch."""
    epoch = 0
    while True:
        if convert:
            loader.set_epoch(epoch)
        for images, _ in loader:
            if convert:
                images.float().div_(255)
            yield
        epoch += 1


def rate(batches: Iterator[None], seconds: float) -> float:
    """Images per second over about ``seconds``."""
    start, count = time.perf_counter(), 0
    while (now := time.perf_counter()) - start < seconds:
        next(batches)
        count += BATCH
    return count / (now - start)


def compare(ours: ImageDataModule, theirs: Any, turns: int, seconds: float) -> dict[str, Any]:
    ours.batch_size = BATCH
    ours.prepare_data()
    ours.setup()
    contenders = {"ours": endless(ours.train_dataloader(), convert=True)}
    for workers in (0, 2):
        loader: Any = DataLoader(
            theirs, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        contenders[f"torchvision, {workers} workers"] = endless(loader, convert=False)
    for batches in contenders.values():
        next(batches)  # opens files and starts workers
    rounds = [{name: rate(batches, seconds) for name, batches in contenders.items()} for _ in range(turns)]
    best = [max(value for name, value in turn.items() if name != "ours") for turn in rounds]
    return {
        "images_per_second": {name: round(spread([turn[name] for turn in rounds])["median"]) for name in contenders},
        "ours_over_best": spread([turn["ours"] / other for turn, other in zip(rounds, best, strict=True)]),
    }


def dsprites_rate(turns: int, seconds: float) -> dict[str, float]:
    """Images per second of rendered batches, uint8, after the first."""
    module = DSpritesDataModule(batch_size=BATCH)
    module.setup()
    batches = endless(module.train_dataloader(), convert=True)
    next(batches)
    return spread([rate(batches, seconds) for _ in range(turns)])


class InputClock(L.Callback):
    """Seconds that the loader takes for a batch, and from one step to the next."""

    def __init__(self, module: ImageDataModule) -> None:
        self.fetch: list[float] = []
        self.steps: list[float] = []
        self._mark = 0.0
        fetch = module.train_set.source.batch

        def timed(indices: Any) -> Any:
            start = time.perf_counter()
            batch = fetch(indices)
            self.fetch.append(time.perf_counter() - start)
            return batch

        module.train_set.source.batch = timed  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        now = time.perf_counter()
        self.steps.append(now - self._mark)
        self._mark = now


def input_share(module: ImageDataModule, steps: int) -> dict[str, float]:
    """Share of the input in a complete training step of the convolutional VAE."""
    module.batch_size = BATCH
    module.prepare_data()
    module.setup()
    clock = InputClock(module)
    with tempfile.TemporaryDirectory() as folder:
        trainer = default_trainer(Path(folder), [clock])
        trainer.fit_loop.epoch_loop.max_steps = steps
        trainer.fit(VAE(module.spec.image_shape, latent_dim=10, network="conv"), datamodule=module)
    return quartiles([fetch / step for fetch, step in zip(clock.fetch[3:], clock.steps[4:], strict=False)])


def quartiles(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "low": low, "high": high}


def figures(turns: int, seconds: float = 2.0) -> list[Figure]:
    """Figures for the table of all benchmarks; sets that are not in ``GVAE_DATA_DIR`` are left out."""
    data = Path(os.environ.get("GVAE_DATA_DIR", "data")).expanduser().resolve()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        share = input_share(DSpritesDataModule(), 40)
        found.append(
            Figure(
                "input of a training step, dSprites, conv 64x64",
                "seconds of the input / of the whole step",
                round(share["median"], 4),
                round(share["low"], 4),
                round(share["high"], 4),
                36,
            )
        )
        for number, (name, build) in enumerate(SETS.items()):
            try:
                pair = build(data, Path(folder) / str(number))
            except (StopIteration, OSError, RuntimeError) as error:
                print(f"{name} is left out: {error}")
                continue
            result = compare(*pair, turns, seconds)
            each, rate_of_ours = result["ours_over_best"], result["images_per_second"]["ours"]
            found.append(
                Figure(
                    f"loader, {name}",
                    "images a second of ours / of torchvision, the better of 0 and 2 workers",
                    each["median"],
                    each["low"],
                    each["high"],
                    turns,
                    {"ours_images_per_s": rate_of_ours},
                )
            )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5, help="turns of every contender")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--steps", type=int, default=40, help="training steps for the share of the input")
    options = parser.parse_args(argv)
    data = Path(os.environ.get("GVAE_DATA_DIR", "data")).expanduser().resolve()
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    }
    with tempfile.TemporaryDirectory() as folder:
        # First, in a process as a training run finds it: without the workers of the others.
        faces = data / "faces_ytf_celeba_layout"
        modules: dict[str, ImageDataModule] = {"dsprites": DSpritesDataModule()}
        if faces.is_dir():
            modules["celeba layout"] = CelebADataModule(faces, cache_dir=Path(folder) / "cache")
        for name, module in modules.items():
            share = results[f"input share, {name}"] = input_share(module, options.steps)
            print(
                f"input share of a training step, 64x64, {name}: {share['median']:.3%} [{share['low']:.3%}, "
                f"{share['high']:.3%}]"
            )
    print(f"\n{results['machine']}, batches of {BATCH}, medians [quartiles] of {options.turns} turns\n")
    print("| data | ours, images/s | torchvision, 0 workers | 2 workers | ours / better of both |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, build) in enumerate(SETS.items()):
            try:
                pair = build(data, Path(folder) / str(number))
            except (StopIteration, OSError, RuntimeError) as error:
                print(f"| {name} | left out: {error} | | | |")
                continue
            result = results[name] = compare(*pair, options.turns, options.seconds)
            speeds, ratio = result["images_per_second"], result["ours_over_best"]
            ours, zero, two = (f"{value:,}" for value in speeds.values())
            print(f"| {name} | {ours} | {zero} | {two} | {ratio['median']} [{ratio['low']}, {ratio['high']}] |")
        results["dsprites_rendered"] = dsprites_rate(options.turns, options.seconds)
        print(f"\ndSprites, rendered: {results['dsprites_rendered']['median']:,.0f} images/s")
    target = Path(__file__).parent / "results" / "data_cpu.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
