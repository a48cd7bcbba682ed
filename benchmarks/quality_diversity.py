"""What decoding a generation at once is worth to a quality-diversity search.

    python -m benchmarks.quality_diversity [--turns 5] [--candidates 2000]

One search judged two ways: each generation of 200 decoded at once, or candidate by candidate; MAP-Elites on a 50 x 50
grid of brightness and mirror symmetry, a dense decoder 10-256-512-784 as of a VAE of MNIST. Both fill the same archive.
The two take turns in one process and ratios are formed turn by turn, in processor time.
"""

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.figures import Figure
from lightning_gvae.evolution.archive.result import ArchiveResult
from lightning_gvae.evolution.archive.search import search_archive
from lightning_gvae.evolution.archive.settings import ArchiveSettings
from lightning_gvae.problems.archive_goal import ImageArchiveProblem
from lightning_gvae.problems.descriptors import DESCRIPTORS
from lightning_gvae.rng import torch_stream

DIMS = 10
BATCH = 200


class Images(nn.Module):
    """Decoder 10-256-512-784."""

    def __init__(self) -> None:
        super().__init__()
        stream, sizes = torch_stream(0, "benchmark/quality_diversity"), (DIMS, 256, 512, 784)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layer = nn.Linear(inputs, outputs)
            nn.init.normal_(layer.weight, std=1.5 * inputs**-0.5, generator=stream)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents).sigmoid().unflatten(1, (1, 28, 28))


def problem() -> ImageArchiveProblem:
    names = ("brightness", "mirror_symmetry")
    judges = {name: (lambda latents, images, name=name: DESCRIPTORS[name](images)) for name in names}
    return ImageArchiveProblem(
        lambda latents, images: (-0.5 * latents.square().mean(1)).exp(), judges, [(0.4, 0.6), (0.4, 1.0)], 0.0
    )


def measure(candidates: int, turns: int) -> dict[str, Any]:
    decoder, goal, low = Images(), problem(), torch.full((DIMS,), -3.0)
    settings = ArchiveSettings(iterations=max(1, candidates // BATCH), batch_size=BATCH, initial=BATCH)

    def contender(chunk_size: int | None) -> Callable[[], ArchiveResult]:
        return lambda: search_archive(decoder, goal, low, -low, settings, seed=1, chunk_size=chunk_size)

    contenders = {"batched": contender(None), "one_by_one": contender(1)}
    contenders["batched"]()  # pyribs compiles when it is first used
    rounds: list[dict[str, float]] = []
    cells: dict[str, int] = {}
    judged = settings.initial + settings.iterations * BATCH
    for turn in range(turns):
        order = list(contenders.items())
        rate: dict[str, float] = {}
        for name, work in order if turn % 2 else reversed(order):
            spent = time.process_time()
            found = work()
            rate[name] = judged / (time.process_time() - spent)
            cells[name] = len(found.raw)
        rounds.append(rate)
    ratios = [rate["batched"] / rate["one_by_one"] for rate in rounds]
    low_, median, high = statistics.quantiles(ratios, n=4) if turns > 1 else ratios * 3
    return {
        "evaluations": judged,
        "per_second": {name: round(statistics.median(rate[name] for rate in rounds)) for name in contenders},
        "ratio": {"median": round(median, 1), "low": round(low_, 1), "high": round(high, 1)},
        "cells": cells,
        "turns": turns,
    }


def figures(turns: int, candidates: int = 2000) -> list[Figure]:
    """Figures for the table of all benchmarks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = measure(candidates, turns)
    finally:
        torch.set_num_threads(threads)
    each = result["ratio"]
    return [
        Figure(
            "archive search, a generation decoded at once",
            "candidates per processor second / decoded one by one",
            each["median"],
            each["low"],
            each["high"],
            turns,
            {"per_s": result["per_second"]["batched"]},
        )
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5, help="turns of each way")
    parser.add_argument("--candidates", type=int, default=2000, help="candidates of a search")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # what one core is worth: threads that wait for each other would count as work
    machine = f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}"
    result = {"machine": machine} | measure(options.candidates, options.turns)
    rate, ratio = result["per_second"], result["ratio"]
    show: Callable[[str], None] = print
    show(f"\n{machine}; {result['evaluations']} candidates, cells filled: {result['cells']}\n")
    show("| decoded | evaluations a second of processor time |\n| --- | ---: |")
    show(f"| a generation at once | {rate['batched']:,} |\n| one by one | {rate['one_by_one']:,} |\n")
    show(f"ratio {ratio['median']} [{ratio['low']}, {ratio['high']}] (median and quartiles of {result['turns']} turns)")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "quality_diversity_cpu.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
