"""A generation's look-ahead all at once against one after the other; and an eVAE run against a VAE run.

    GVAE_DATA_DIR=... python -m benchmarks.lookahead [--turns 35] [--steps 5000]

Eight candidates, five steps of 128 images, a probe of 256: the defaults of BetaEvolution. The ways take turns in one
process on the same weights, batches and noise, memory kept as train.py keeps it; their scores are compared. The runs
are those of train.py with the default callbacks, the default evolution (19 nats) and the default length, in processes
of their own that take turns: on MNIST if ``GVAE_DATA_DIR`` has it, where evolution sleeps once the target is held, else
on noise images, whose KL never comes near it, so that evolution is awake to the end.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Figure, device_name, figure, table, wall_turns, write
from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, data_for, default_trainer, mnist_folder, noise_for
from benchmarks.turns import Contender, take_turns
from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.evolution.beta.lookahead import Trial, lookahead
from lightning_gvae.evolution.beta.lookahead_batched import lookahead_batched
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.model_copy import ModelCopy, Noise
from lightning_gvae.models import EVAE, VAE
from lightning_gvae.runtime import keep_freed_memory, settle_gpu_check

ROOT = Path(__file__).resolve().parent.parent
CANDIDATES, STEPS, BATCH, PROBE = 8, 5, 128, 256
NETWORKS = {"MLP 28x28": (1, 28, 28), "MLP 8x8": (1, 8, 8)}


def probe_loss(module: Any, batch: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    terms = module.elbo_terms(module.prepare(batch), generator=generator)
    return module.loss(terms), terms.recon, terms.kl


def generation(name: str, device: torch.device) -> tuple[VAE, torch.optim.Optimizer, Trial]:
    """A model after some steps, and what its candidates share."""
    shape = NETWORKS[name]
    model = VAE(shape, latent_dim=20, network=name.split()[0].lower()).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    count = STEPS * BATCH + PROBE
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    steps = [[images[start : start + BATCH]] for start in range(0, STEPS * BATCH, BATCH)]
    probe = [(images[STEPS * BATCH :], 1.0)]
    trial = Trial(probe_loss, steps, probe, Noise(0, "benchmark", 0, device), ["beta"])
    for k, (batch,) in enumerate(steps * 4):
        optimizer.zero_grad()
        probe_loss(model, batch, trial.noise.generator(100 + k))[0].backward()
        optimizer.step()
    return model, optimizer, trial


def of_a_generation(name: str, turns: int) -> list[Figure]:
    """One after the other over all at once, the copy of the model included."""
    settle_gpu_check()  # as train.py does; one after the other gains the more
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, optimizer, trial = generation(name, device)
    genomes = np.exp(np.linspace(-0.5, 0.5, CANDIDATES))[:, None]
    scores: dict[str, np.ndarray] = {}

    def contender(key: str, evaluate: Any) -> Any:
        def work() -> None:
            scores[key] = evaluate(ModelCopy(model, optimizer), trial, genomes)

        return work

    way = "batched"
    contenders = {"sequential": contender("sequential", lookahead), way: contender(way, lookahead_batched)}
    rounds = wall_turns(contenders, turns)
    return [
        figure(
            f"look-ahead of a generation, {name}, {way}",
            f"seconds one after the other / seconds {way}",
            [turn["sequential"] / turn[way] for turn in rounds],
            ms=round(1000 * float(np.median([turn[way] for turn in rounds])), 1),
            largest_relative_difference=float(f"{np.abs(scores[way] / scores['sequential'] - 1).max():.1e}"),
        )
    ]


def of_generations(turns: int) -> list[Figure]:
    """Of each network."""
    return [each for name in NETWORKS for each in of_a_generation(name, turns)]


def of_a_run(steps: int, runs: int) -> list[Figure]:
    """The default eVAE over the same VAE, and what looking ahead one after the other would make of it."""
    return _of_a_run("MNIST" if mnist_folder().is_dir() else "noise", steps, runs)


def _of_a_run(data: str, steps: int, runs: int) -> list[Figure]:
    names = {"vae": "vae", "auto": "evae", "sequential": "evae"}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(runs):
        contenders: dict[str, Contender] = {}
        try:
            for name, model in names.items():
                command = [sys.executable, "-m", "benchmarks.lookahead", "--worker", model, name, data, str(seed)]
                contenders[name] = Contender(command, folder=str(ROOT))
            # Whole runs but for the first tenth: evolution begins after the warm-up.
            parts = take_turns(contenders, steps // 10, 9)
        finally:
            for contender in contenders.values():
                contender.close()
        for name in names:
            seconds[name].append(sum(part[name]["seconds"] for part in parts))
    return [
        figure(
            f"eVAE run, MLP 28x28, {data}, look-ahead {name}",
            f"seconds of eVAE / of the same VAE, {steps} steps",
            [own / plain for own, plain in zip(seconds[name], seconds["vae"], strict=True)],
        )
        for name in ("auto", "sequential")
    ]


def worker(model: str, way: str, data: str, seed: str) -> None:
    """One run as train.py makes it, pausing between turns."""
    keep_freed_memory()
    torch.manual_seed(int(seed))  # how often evolution is awake depends on the start
    datamodule = (noise_for if data == "noise" else data_for)(CASES["mlp28"])
    callbacks: list[Any] = [Pausing()]
    built: VAE = VAE((1, 28, 28), latent_dim=20, network="mlp")
    if model == "evae":
        built = EVAE((1, 28, 28), latent_dim=20, network="mlp")
        search = BetaSearch(target=19.0, seed=int(seed))
        callbacks.append(BetaEvolution(search, lookahead=way))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        default_trainer(Path(folder), callbacks).fit(built, datamodule=datamodule)


def figures(turns: int, steps: int = 5000) -> list[Figure]:
    keep_freed_memory()
    generations = of_generations(5 * turns)
    return [*generations, *of_a_run(steps, min(turns, 5))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=35, help="counted turns of each way")
    parser.add_argument("--steps", type=int, default=5000, help="optimiser steps of a run; 0 for no runs")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        worker(*options.worker)
        return
    keep_freed_memory()
    found = of_generations(options.turns)
    if options.steps:
        found += of_a_run(options.steps, min(options.turns, 5))
    print(table(found))
    print(write(found, f"lookahead-{device_name()}"))


if __name__ == "__main__":
    main()
