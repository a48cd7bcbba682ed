"""How cost grows: with image size, latents, candidates of a generation, runs and population of a search, and ranks.

    python -m benchmarks.scaling [--turns 7]

Every figure is a ratio to the case named in it, in the same turn. Ranks are processes with a thread each that share a
batch of 128 images through gloo; the one they are compared to has one thread and the whole batch.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Figure, device_name, figure, table, wall_turns, write
from benchmarks.latent_search import DIMS, cases
from benchmarks.lookahead import generation
from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, bare_loop, default_trainer, make_model, noise_for
from benchmarks.turns import Contender, take_turns
from lightning_gvae.evolution.beta.lookahead_batched import lookahead_batched
from lightning_gvae.evolution.latent.search import GASettings, search
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.runtime import keep_freed_memory, settle_gpu_check

ROOT = Path(__file__).resolve().parent.parent
SIZES, LATENTS, CANDIDATES = (32, 64, 128), (2, 10, 64, 256), (4, 8, 16, 32)
RUNS, POPULATIONS, RANKS = (1, 10, 100, 1000), (20, 200, 2000), (1, 2)


def compared(
    what: str, unit: str, work: Mapping[int, Callable[[], Any]], base: int, turns: int, **facts: Any
) -> list[Figure]:
    """Figures of the cases by number, each over the case ``base``."""
    rounds = wall_turns({str(number): each for number, each in work.items()}, turns)
    return [
        figure(
            f"{what}: {number} {unit}",
            f"seconds / those with {base} {unit}",
            [turn[str(number)] / turn[str(base)] for turn in rounds],
            ms=round(1000 * statistics.median(turn[str(number)] for turn in rounds), 2),
            **facts,
        )
        for number in work
        if number != base
    ]


def steps_of(case: dict[str, Any], steps: int) -> Callable[[], None]:
    loop = bare_loop(case, noise_for(case).images[: 4 * case["batch_size"]], fused=True)

    def work() -> None:
        for _ in range(steps):
            next(loop)

    return work


def of_training(turns: int) -> list[Figure]:
    conv, mlp = CASES["conv64"] | {"data": "noise"}, CASES["mlp28"] | {"data": "noise"}
    sizes = {size: steps_of(conv | {"image_shape": (1, size, size), "batch_size": 32}, 5) for size in SIZES}
    latents = {count: steps_of(mlp | {"latent_dim": count}, 50) for count in LATENTS}
    return [
        *compared("5 training steps, conv, batch 32", "pixels a side", sizes, 64, turns),
        *compared("50 training steps, MLP 28x28", "latents", latents, 10, turns),
    ]


def of_a_generation(turns: int) -> list[Figure]:
    model, optimizer, trial = generation("MLP 28x28", torch.device("cpu"))

    def work(count: int) -> Callable[[], Any]:
        genomes = np.exp(np.linspace(-0.5, 0.5, count))[:, None]
        return lambda: lookahead_batched(ModelCopy(model, optimizer), trial, genomes)

    return compared(
        "look-ahead of a generation, MLP 28x28", "candidates", {count: work(count) for count in CANDIDATES}, 8, turns
    )


def of_a_search(turns: int) -> list[Figure]:
    low = torch.full((DIMS,), -2.0)

    def work(name: str, runs: int, population: int) -> Callable[[], Any]:
        decoder, problem = cases()[name]
        settings = GASettings.paper(population=population, generations=5)
        return lambda: search(decoder, problem, low, -low, runs, settings, seed=1)

    runs = {count: work("small", count, 20) for count in RUNS}
    populations = {count: work("image", 1, count) for count in POPULATIONS}
    return [
        *compared("latent search, 5 generations of 20, decoder 10-20-10", "runs", runs, 100, turns),
        *compared("latent search, 5 generations, decoder 10-256-512-784", "individuals", populations, 200, turns),
    ]


def of_ranks(turns: int, seconds: float = 3.0) -> list[Figure]:
    return [each for name in ("mlp28", "conv64") for each in _of_ranks(name, turns, seconds)]


def _of_ranks(name: str, turns: int, seconds: float) -> list[Figure]:
    contenders: dict[str, Contender] = {}
    try:
        for count in RANKS:
            command = [sys.executable, "-m", "benchmarks.scaling", "--worker", name, str(count)]
            contenders[str(count)] = Contender(command, {"OMP_NUM_THREADS": "1"}, folder=str(ROOT))
        contenders["1"].turn(5)
        steps = max(5, round(seconds / (contenders["1"].turn(5)["seconds"] / 5)))
        rounds = take_turns(contenders, steps, turns)
    finally:
        for contender in contenders.values():
            contender.close()
    return [
        figure(
            f"training, {name}, {count} ranks of one thread",
            "seconds of one rank with the whole batch / of these",
            [turn["1"]["seconds"] / turn[str(count)]["seconds"] for turn in rounds],
            steps_per_turn=steps,
        )
        for count in RANKS[1:]
    ]


def worker(name: str, ranks: int) -> None:
    """A run whose first rank pauses between turns; the others wait for it where gradients are averaged."""
    keep_freed_memory()
    case = CASES[name] | {"data": "noise", "batch_size": CASES[name]["batch_size"] // ranks}
    callbacks = [Pausing()] if int(os.environ.get("LOCAL_RANK", "0")) == 0 else []
    extra = [f"trainer.devices={ranks}"] if ranks > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        trainer = default_trainer(Path(folder), callbacks, extra, "ddp_sim" if ranks > 1 else "cpu")
        try:
            trainer.fit(make_model(case), datamodule=noise_for(case))
        except RuntimeError as error:
            if callbacks or "closed by peer" not in str(error):
                raise  # not the first rank's end, which is how the others learn that it is over


def figures(turns: int) -> list[Figure]:
    keep_freed_memory()
    settle_gpu_check()
    return [*of_training(turns), *of_a_generation(turns), *of_a_search(turns), *of_ranks(turns)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of every case")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        worker(options.worker[0], int(options.worker[1]))
        return
    found = figures(options.turns)
    print(table(found))
    print(write(found, f"scaling-{device_name()}"))


if __name__ == "__main__":
    main()
