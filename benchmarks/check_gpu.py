"""Check of the GPU at hand, functions and speed: one table and one file, in eight minutes at most.

    python -m benchmarks.check_gpu [--seconds 440] [--output FILE] [--only WORD ...]

Every family of models trains for a few steps in each precision; evolution, searches, scores, compilation and a resumed
run follow; then our complete runs against a bare loop and the same loop as a CUDA graph. Rows that come too late are
left out and say so. Without a GPU the rows that need one say that, and the others run on the CPU, to show that they do.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra import compose, initialize_config_module

from benchmarks.figures import RESULTS, device_name, machine
from benchmarks.throughput import default_trainer
from lightning_gvae.cli import train
from lightning_gvae.datamodules.base import DataSpec, ImageArrays, ImageDataModule
from lightning_gvae.models import VAE

NEEDS_GPU = "needs a GPU"
SHORT = ("test=false", "trainer.max_steps=20", "trainer.log_every_n_steps=10", "trainer.val_check_interval=20")
DIGITS = ("data=digits", "callbacks.figures=null", *SHORT)
TEXT = ("callbacks.text_samples=null", "model.embedding=32", "model.hidden=32", "model.feedforward=32", *SHORT)
EVOLVE = tuple(f"callbacks.beta_evolution.{name}" for name in ("interval=8", "warmup=8", "probe_size=64"))
SEARCHED = {
    "population": 10,
    "generations": 2,
    "space.max_blocks": 2,
    "space.choices": "{filters:[4,8],kernel:[3]}",
    "training.epochs": 1,
    "training.train_images": 256,
    "front.finetune_epochs": 1,
}
ARCHITECTURE = tuple(f"callbacks.architecture_evolution.{name}={value}" for name, value in SEARCHED.items())
FAMILIES = {
    "VAE": (*DIGITS, "model=vae"),
    "ControlVAE": (*DIGITS, "model=control_vae"),
    "DynamicVAE": (*DIGITS, "model=dynamic_vae"),
    "eVAE, look-ahead": (*DIGITS, "model=evae", *EVOLVE),
    "eVAE, first order": (*DIGITS, "model=evae", "callbacks/beta_evolution=evae_fo", *EVOLVE),
    "GAN": (*DIGITS, "model=gan"),
    "VAE-GAN": (*DIGITS, "model=vae_gan"),
    "text, LSTM": ("model=text_vae", *TEXT),
    "text, Transformer": ("model=text_vae", "model.architecture=transformer", *TEXT),
}
ONCE = {
    "latent search": (*DIGITS, "model=vae", "+callbacks/latent_search=default", "callbacks.latent_search.runs=4"),
    "architecture search, 20 candidates": (*DIGITS, "model=conv_autoencoder", *ARCHITECTURE),
    "scores": (*DIGITS, "model=vae", "metrics=all", "evaluation.samples=500", "evaluation.likelihood_images=100"),
}
COMPILED = {
    "compiled VAE": (*DIGITS, "model=vae", "model.compile=true"),
    "compiled VAE, CUDA graphs": (*DIGITS, "model=vae", "model.compile=reduce-overhead"),
    "compiled VAE-GAN": (*DIGITS, "model=vae_gan", "model.compile=true"),
    "compiled Transformer": ("model=text_vae", "model.architecture=transformer", "model.compile=true", *TEXT),
}
SPEED = {"MLP 28x28": (1, 28, "mlp"), "conv 64x64": (1, 64, "conv"), "conv 128x128 RGB": (3, 128, "conv")}
IMAGES = 4096


@dataclass(frozen=True)
class Row:
    """A line of the table: what was tried, what came of it, and how long it took."""

    name: str
    result: str
    seconds: float


class Noise(ImageDataModule):
    """Noise images: speed does not depend on what the pixels show."""

    def __init__(self, channels: int, side: int, batch_size: int, device_cache: bool) -> None:
        super().__init__(DataSpec("noise", (channels, side, side)), 0.1, 0.1, batch_size, device_cache=device_cache)

    def load(self) -> tuple[ImageArrays, None]:
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, *self.spec.image_shape), dtype=np.uint8)
        return ImageArrays(images, np.zeros(IMAGES, np.int64)), None


class Clock(L.Callback):
    """Times the steps after the first few, until there are enough seconds of them."""

    def __init__(self, seconds: float, skipped: int = 10) -> None:
        self.seconds, self.skipped = seconds, skipped
        self.steps, self.spent, self._start = 0, 0.0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        done = trainer.global_step - self.skipped
        if done == 0:
            synchronize(pl_module.device)
            self._start = time.perf_counter()
        if done > 0 and done % 10 == 0 and time.perf_counter() - self._start > self.seconds:
            synchronize(pl_module.device)
            self.steps, self.spent = done, time.perf_counter() - self._start
            trainer.should_stop = True


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trained(folder: Path, *overrides: str) -> dict[str, float]:
    """Metrics of a run of ``train.py`` that says nothing."""
    folder.mkdir(parents=True)
    corpus = folder / "corpus.txt"
    words = ["the", "old", "red", "cat", "and", "a", "new", "blue", "house", "by", "the", "cold", "river"]
    lines = (" ".join(np.random.default_rng(line).choice(words, 3 + line % 5)) for line in range(400))
    corpus.write_text("\n".join(lines), encoding="utf-8")
    data = () if any(given.startswith("data=") for given in overrides) else ("data=text", f"data.root={corpus}")
    given = [*data, *overrides, f"paths.output_dir={folder}", f"paths.cache_dir={folder}/cache"]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        initialize_config_module("lightning_gvae.conf", version_base="1.3"),
    ):
        return train(compose("train", given))


def smoke(folder: Path, *overrides: str) -> str:
    metrics = trained(folder, *overrides)
    name = next(name for name in ("val/loss", "val/recon", "val/generator_loss") if name in metrics)
    if not np.isfinite(metrics[name]):
        raise ArithmeticError(f"{name} is {metrics[name]}")
    return f"{name} {metrics[name]:.4g}"


def resumed(folder: Path) -> str:
    """Whether a run in two pieces ends with the weights of one in one piece."""
    whole, half = (*DIGITS, "model=evae", *EVOLVE), folder / "half"
    trained(folder / "whole", *whole)
    trained(half, *whole, "trainer.max_steps=9")
    trained(folder / "rest", *whole, f"ckpt_path={half}/checkpoints/last.ckpt")
    one, two = (
        torch.load(folder / name / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        for name in ("whole", "rest")
    )
    different = [name for name in one if not torch.equal(one[name], two[name])]
    if different:
        raise ArithmeticError(f"not the same bits: {', '.join(different)}")
    return "same bits"


def ours(folder: Path, case: tuple[int, int, str], batch: int, seconds: float, resident: bool) -> float:
    """Samples a second of a complete run, with the data on the device or brought there batch by batch."""
    channels, side, network = case
    clock, kind = Clock(seconds), "gpu" if torch.cuda.is_available() else "cpu"
    with contextlib.redirect_stderr(io.StringIO()):
        trainer = default_trainer(folder, [clock], trainer=kind)
        trainer.fit(VAE((channels, side, side), network=network), datamodule=Noise(channels, side, batch, resident))
    return clock.steps * batch / clock.spent


def bare(case: tuple[int, int, str], batch: int, seconds: float, graph: bool) -> float:
    """Samples a second of a loop written by hand, images on the device; or of its step as a CUDA graph."""
    channels, side, network = case
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randint(0, 256, (IMAGES, channels, side, side), dtype=torch.uint8, device=device)
    model = VAE((channels, side, side), network=network).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=graph)
    chosen = images[:batch].clone()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        terms = model.elbo_terms(chosen.float() / 255)
        (terms.recon + terms.kl).backward()
        optimizer.step()

    replay = captured(step) if graph else step
    for number in range(10**9):
        if number == 10:
            synchronize(device)
            start = time.perf_counter()
        chosen.copy_(images[torch.randint(0, IMAGES, (batch,), device=device)])
        replay()
        if number > 10 and number % 10 == 0 and time.perf_counter() - start > seconds:
            break
    synchronize(device)
    return (number - 9) * batch / (time.perf_counter() - start)


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def speed(folder: Path, case: tuple[int, int, str], batch: int, seconds: float) -> str:
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    run = ours(folder / "resident", case, batch, seconds, resident=True)
    peak = f", peak {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB" if gpu else ""
    streamed = ours(folder / "streamed", case, batch, seconds, resident=False)
    loop = bare(case, batch, seconds, graph=False)
    replayed = f", CUDA graph {bare(case, batch, seconds, graph=True):,.0f}" if gpu else f", CUDA graph {NEEDS_GPU}"
    return f"samples/s: ours {run:,.0f}, batch by batch {streamed:,.0f}, bare loop {loop:,.0f}{replayed}{peak}"


def plan(seconds: float) -> Iterator[tuple[str, bool, Callable[[Path], str]]]:
    """Name of each row, whether it needs a GPU, and what to do in a folder."""
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        for name, given in FAMILIES.items():
            work = (*given, f"trainer.precision={precision}")
            yield f"{name}, {precision}", precision != "32-true", lambda folder, work=work: smoke(folder, *work)  # type: ignore[misc]
    for name, given in ONCE.items():
        yield name, False, lambda folder, given=given: smoke(folder, *given)  # type: ignore[misc]
    yield "resumed eVAE", False, resumed
    for name, given in COMPILED.items():
        yield name, True, lambda folder, given=given: smoke(folder, *given)  # type: ignore[misc]
    for name, case in SPEED.items():
        for batch in (128, 1024):
            small = case[1] == 28 and batch == 128
            yield (
                f"{name}, batch {batch}",
                not small,
                lambda folder, case=case, batch=batch: speed(folder, case, batch, seconds),  # type: ignore[misc]
            )


def check(limit: float, only: list[str]) -> list[Row]:
    """All rows, each printed when it is there."""
    rows, began = [], time.perf_counter()
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as root:
        for number, (name, needs_gpu, work) in enumerate(plan(2.0 if gpu else 1.0)):
            if only and not any(word in name for word in only):
                continue
            start = time.perf_counter()
            if needs_gpu and not gpu:
                result = NEEDS_GPU
            elif start - began > limit:
                result = f"left out after {limit:.0f} s"
            else:
                try:
                    result = work(Path(root) / str(number) / "run")
                except Exception as error:  # noqa: BLE001  (the other rows are wanted)
                    traceback.print_exc()
                    result = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            rows.append(Row(name, result, round(time.perf_counter() - start, 1)))
            print(f"| {name} | {result} | {rows[-1].seconds} |", flush=True)
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=440, help="rows that would start later are left out")
    parser.add_argument("--output", type=Path, help="file of results; of a GPU benchmarks/results/<device>.json")
    parser.add_argument("--only", nargs="+", default=[], help="rows with one of these words in their name")
    options = parser.parse_args(argv)
    print(f"{device_name()}, torch {torch.__version__}\n\n| what | result | s |\n| --- | --- | --- |")
    rows = check(options.seconds, options.only)
    path = options.output or (RESULTS / f"{device_name()}.json" if torch.cuda.is_available() else None)
    if path is not None:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        content["check"] = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"\n{path}")
    if any(row.result.startswith("FAILED") for row in rows):
        raise SystemExit("some rows failed; their errors stand above")


if __name__ == "__main__":
    main()
