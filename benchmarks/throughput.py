"""Images per second of a full training run against bare torch loops, and what BetaEvolution costs.

    python -m benchmarks.throughput [--turns 31] [--seconds 1.5]

All contenders take turns inside one process: our run (Trainer with the default callbacks, CSV logging, checkpoints and
progress bar) pauses after every turn and the bare loops make as many steps with the same network, batch size and data.
Ratios are formed turn by turn, so that a machine that drifts slows all contenders alike. ``bare`` is a tensor in
memory, ``randperm`` and plain Adam, nothing logged; ``bare_fused`` has fused Adam, as our models have.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from torch import Tensor

from benchmarks.figures import Figure, figure
from lightning_gvae.datamodules.batches import BatchLoader, Split
from lightning_gvae.datamodules.dsprites import DSpritesDataModule
from lightning_gvae.datamodules.mnist import MNISTDataModule
from lightning_gvae.models import VAE
from lightning_gvae.runtime import settle_gpu_check

CASES: dict[str, dict[str, Any]] = {
    "mlp28": {"data": "mnist", "network": "mlp", "image_shape": (1, 28, 28), "batch_size": 128, "latent_dim": 20},
    "conv64": {"data": "dsprites", "network": "conv", "image_shape": (1, 64, 64), "batch_size": 128, "latent_dim": 10},
}
IMAGES = 10_000  # dSprites in the bare loops' tensor, and noise images in the place of MNIST


class SyntheticData(L.LightningDataModule):
    """28x28 noise in our own loader: speed does not depend on what the pixels show."""

    def __init__(self, images: Tensor, batch_size: int) -> None:
        super().__init__()
        self.images, self.batch_size = images, batch_size

    def train_dataloader(self) -> Any:
        return BatchLoader(Split("synthetic/train", self, np.arange(len(self.images))), self.batch_size, training=True)

    def val_dataloader(self) -> Any:
        return BatchLoader(Split("synthetic/val", self, np.arange(256)), self.batch_size, training=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return tuple(part.to(device) for part in batch)  # as our data modules do

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(indices)
        return self.images[chosen], chosen


def bare_loop(case: dict, images: Tensor, fused: bool) -> Iterator[None]:
    """One step per ``next``: what a person writes by hand."""
    model = make_model(case)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    size = case["batch_size"]
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - size + 1, size):
            x = images[order[start : start + size]].float() / 255
            optimizer.zero_grad()
            terms = model.elbo_terms(x)
            (terms.recon + terms.kl).backward()
            optimizer.step()
            yield


def make_model(case: dict) -> VAE:
    return VAE(case["image_shape"], latent_dim=case["latent_dim"], network=case["network"])


class Turns(L.Callback):
    """Pauses our run after every turn and gives the bare loops theirs."""

    def __init__(self, contenders: dict[str, Iterator[None]], steps: int, turns: int) -> None:
        self.contenders, self.steps, self.turns = contenders, steps, turns
        self.seconds: list[dict[str, float]] = []
        self._mark = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step % self.steps:
            return
        now = time.perf_counter()
        if trainer.global_step > 0:
            turn = {"ours": now - self._mark}
            order = list(self.contenders.items())
            for name, loop in order if len(self.seconds) % 2 else reversed(order):
                turn[name] = timed(loop, self.steps)
            self.seconds.append(turn)
        if len(self.seconds) == self.turns + 1:
            trainer.should_stop = True
        self._mark = time.perf_counter()


def timed(loop: Iterator[None], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        next(loop)
    return time.perf_counter() - start


def default_trainer(
    folder: Path, callbacks: list[Any], overrides: Sequence[str] = (), trainer: str = "cpu"
) -> L.Trainer:
    """The Trainer that ``train.py`` builds, without validation: that is not training throughput."""
    given = [f"paths.output_dir={folder}", f"trainer={trainer}", "trainer.max_steps=1000000", *overrides]
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("train", given)
    settle_gpu_check()  # as train.py does; the bare loops of this process gain as much
    ours = [instantiate(node) for name, node in cfg.callbacks.items() if name != "figures"]
    loggers = [instantiate(node) for node in cfg.logger.values()]
    return instantiate(cfg.trainer, callbacks=[*ours, *callbacks], logger=loggers, val_check_interval=1_000_000)


def mnist_folder() -> Path:
    return Path(os.environ.get("GVAE_DATA_DIR", "data")).expanduser().resolve() / "mnist"


def data_for(case: dict) -> L.LightningDataModule:
    """The case's data module; noise where there is no MNIST."""
    datamodule: Any
    if case["data"] == "dsprites":
        datamodule = DSpritesDataModule(batch_size=case["batch_size"])
    elif mnist_folder().is_dir():
        datamodule = MNISTDataModule(mnist_folder(), batch_size=case["batch_size"])
    else:
        return noise_for(case)
    datamodule.setup("fit")
    return datamodule


def noise_for(case: dict) -> SyntheticData:
    """Noise images of the case's shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, *case["image_shape"]), dtype=torch.uint8, generator=generator)
    return SyntheticData(images, case["batch_size"])


def images_for(case: dict) -> Tensor:
    """The training images uint8 ``(N, C, H, W)`` of the same data as one tensor; of dSprites the first ones."""
    datamodule: Any = data_for(case)
    if isinstance(datamodule, SyntheticData):
        return datamodule.images
    count = min(len(datamodule.train_set), IMAGES) if case["data"] == "dsprites" else len(datamodule.train_set)
    images: Tensor = datamodule.train_set.batch(np.arange(count))[0]
    return images


def measure(name: str, turns: int, seconds: float) -> dict[str, Any]:
    case = CASES[name]
    datamodule, images = data_for(case), images_for(case)
    contenders = {"bare": bare_loop(case, images, fused=False), "bare_fused": bare_loop(case, images, fused=True)}
    timed(contenders["bare"], 3)
    steps = max(5, round(seconds / (timed(contenders["bare"], 5) / 5)))
    with tempfile.TemporaryDirectory() as folder:
        callback = Turns(contenders, steps, turns)
        default_trainer(Path(folder), [callback]).fit(make_model(case), datamodule=datamodule)
    rounds = callback.seconds[1:]  # the first turn warms up
    images_a_turn = case["batch_size"] * steps
    typical = {key: statistics.median(turn[key] for turn in rounds) for key in ("ours", *contenders)}
    return {
        "images_per_second": {key: round(images_a_turn / seconds) for key, seconds in typical.items()},
        "ours_over_bare": spread([turn["bare"] / turn["ours"] for turn in rounds]),
        "ours_over_bare_fused": spread([turn["bare_fused"] / turn["ours"] for turn in rounds]),
        "steps_per_turn": steps,
        "turns": len(rounds),
    }


def measure_evolution(name: str, generations: int) -> dict[str, float]:
    """Wall time of evolution over that of training, beside the compute that was announced."""
    from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
    from lightning_gvae.evolution.beta.search import BetaSearch
    from lightning_gvae.models import EVAE

    case = CASES[name]
    datamodule = data_for(case)
    interval = 100
    evolution = BetaEvolution(BetaSearch(target=1.0), interval=interval, warmup=interval)
    model = EVAE(case["image_shape"], latent_dim=case["latent_dim"], network=case["network"])
    clock = StepClock(interval)
    with tempfile.TemporaryDirectory() as folder:
        trainer = default_trainer(Path(folder), [evolution, clock])
        trainer.fit_loop.epoch_loop.max_steps = interval * (generations + 1)
        trainer.fit(model, datamodule=datamodule)
    planned = evolution.planned_extra_compute(case["batch_size"])
    return {
        "announced": planned,
        "measured": statistics.median(clock.due) / (interval * statistics.median(clock.plain)),
        "interval": interval,
        "generations": len(clock.due),
    }


class StepClock(L.Callback):
    """Seconds before a step on which a generation is due, and seconds of the steps in between."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.due: list[float] = []
        self.plain: list[float] = []
        self._end = self._start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        now = time.perf_counter()
        # Comes after BetaEvolution among the callbacks: its generation lies between the end of the last step and now.
        if trainer.global_step and trainer.global_step % self.interval == 0:
            self.due.append(now - self._end)
        elif trainer.global_step > 1:
            self.plain.append(now - self._start)
        self._start = now

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self._end = time.perf_counter()


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles over the turns."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def figures(turns: int, seconds: float = 1.5, generations: int = 5) -> list[Figure]:
    """Figures for the table of all benchmarks; all contenders in this process, whose memory glibc gives back."""
    found = []
    for name in CASES:
        result = measure(name, turns, seconds)
        for key, loop in (("ours_over_bare", "plain"), ("ours_over_bare_fused", "fused")):
            each, facts = result[key], {"ours_images_per_s": result["images_per_second"]["ours"]}
            found.append(
                Figure(
                    f"training, {name}, one process",
                    f"seconds of a bare loop with {loop} Adam / ours",
                    each["median"],
                    each["low"],
                    each["high"],
                    result["turns"],
                    facts,
                )
            )
        cost = measure_evolution(name, generations)
        found.append(
            figure(
                f"BetaEvolution, {name}, interval {cost['interval']}, while it is awake",
                "seconds of evolution / of training without it",
                [cost["measured"]],
                announced=round(cost["announced"], 3),
                generations=cost["generations"],
            )
        )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=31, help="counted turns of every contender")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parser.add_argument("--generations", type=int, default=5, help="generations of BetaEvolution")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    show: Callable[[str], None] = print
    show(f"\n{results['machine']}\n")
    show("medians [quartiles] of the turns\n")
    show("| case (batch 128) | ours, images/s | ours / bare loop | ours / bare loop with fused Adam |")
    show("| --- | --- | --- | --- |")
    for name in CASES:
        result = results[name] = measure(name, options.turns, options.seconds)
        plain, fused = result["ours_over_bare"], result["ours_over_bare_fused"]
        show(
            f"| {name} | {result['images_per_second']['ours']} | {plain['median']} [{plain['low']}, {plain['high']}] |"
            f" {fused['median']} [{fused['low']}, {fused['high']}] |"
        )
    show("\n| BetaEvolution, interval 100 | announced extra compute | measured extra time |\n| --- | --- | --- |")
    for name in CASES:
        evolution = results[f"{name}_evolution"] = measure_evolution(name, options.generations)
        show(f"| {name} | {evolution['announced']:.3f} | {evolution['measured']:.3f} |")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "throughput_cpu.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
