"""What 100 latent searches cost at once, as tensors, and one after the other with DEAP.

    python -m benchmarks.latent_search [--turns 7] [--runs 100]

Population 20, 50 generations, 10 latents, tournament fitness as published. ``small`` is a decoder 10-20-10 with the
problem C1, ``image`` one 10-256-512-784 with a target image. ``deap_one_by_one`` decodes every individual alone, as the
published code does; ``deap`` decodes a generation at once. All contenders take turns in one process and ratios are
formed turn by turn.
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
from lightning_gvae.evolution.latent.search import GASettings, Problem, search
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.images import ImageProblem
from lightning_gvae.rng import torch_stream

DIMS = 10


class Points(nn.Module):
    """Decoder 10-20-10 with outputs in [-50, 50]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(DIMS, 20, DIMS)

    def forward(self, latents: Tensor) -> Tensor:
        return 50 * torch.tanh(self.net(latents))


class Images(nn.Module):
    """Decoder 10-256-512-784."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(DIMS, 256, 512, 784)

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents).sigmoid().unflatten(1, (1, 28, 28))


def mlp(*sizes: int) -> nn.Sequential:
    generator, layers = torch_stream(0, "benchmark/latent_search"), []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, std=inputs**-0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cases() -> dict[str, tuple[nn.Module, Problem]]:
    target = torch.rand(1, 28, 28, generator=torch_stream(0, "benchmark/target"))
    distance = ImageProblem(lambda images: (images - target).square().flatten(1).mean(1))
    return {"small": (Points(), make_criterion("c1", DIMS)), "image": (Images(), distance)}


def one_by_one(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda latents: torch.cat([decode(row) for row in latents.split(1)])


def measure(decoder: nn.Module, problem: Problem, runs: int, turns: int) -> dict[str, Any]:
    low = torch.full((DIMS,), -2.0)

    def contender(decode: Callable[[Tensor], Tensor], engine: Any) -> Callable[[], object]:
        return lambda: search(decode, problem, low, -low, runs, GASettings.paper(), seed=1, engine=engine)

    contenders = {
        "tensor": contender(decoder, "torch"),
        "deap": contender(decoder, "deap"),
        "deap_one_by_one": contender(one_by_one(decoder), "deap"),
    }
    contenders["tensor"]()
    rounds: list[dict[str, float]] = []
    for turn in range(turns):
        order = list(contenders.items())
        seconds: dict[str, float] = {}
        for name, work in order if turn % 2 else reversed(order):
            start, spent = time.perf_counter(), time.process_time()
            work()
            seconds |= {name: time.perf_counter() - start, f"{name}_cpu": time.process_time() - spent}
        rounds.append(seconds)
    names = list(contenders)
    return {
        "seconds": {name: round(statistics.median(turn[name] for turn in rounds), 3) for name in names},
        "cpu_seconds": {name: round(statistics.median(turn[f"{name}_cpu"] for turn in rounds), 3) for name in names},
        # Processor time: other programs on the machine do not count.
        "over_tensor": {
            name: spread([turn[f"{name}_cpu"] / turn["tensor_cpu"] for turn in rounds]) for name in names[1:]
        },
        "runs": runs,
        "turns": turns,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles over the turns."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": round(median, 1), "low": round(low, 1), "high": round(high, 1)}


def figures(turns: int, runs: int = 100) -> list[Figure]:
    """Figures for the table of all benchmarks."""
    found = []
    for name, (decoder, problem) in cases().items():
        result = measure(decoder, problem, runs, turns)
        for engine, each in result["over_tensor"].items():
            way = "decoding one by one" if engine == "deap_one_by_one" else "decoding a generation at once"
            found.append(
                Figure(
                    f"latent search, {runs} runs, {name} decoder",
                    f"processor seconds of DEAP, {way} / ours",
                    each["median"],
                    each["low"],
                    each["high"],
                    turns,
                    {"ours_cpu_seconds": result["cpu_seconds"]["tensor"]},
                )
            )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="turns of every contender")
    parser.add_argument("--runs", type=int, default=100, help="searches")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    show: Callable[[str], None] = print
    show(
        f"\n{results['machine']}\n\n"
        f"{options.runs} searches; processor time over ours, median [quartiles] of the turns\n"
    )
    show("| decoder | ours, seconds | DEAP, generation decoded at once | DEAP, decoded one by one |")
    show("| --- | --- | --- | --- |")
    for name, (decoder, problem) in cases().items():
        result = results[name] = measure(decoder, problem, options.runs, options.turns)
        batched, single = result["over_tensor"]["deap"], result["over_tensor"]["deap_one_by_one"]
        show(
            f"| {name} | {result['cpu_seconds']['tensor']} |"
            f" {batched['median']} [{batched['low']}, {batched['high']}] |"
            f" {single['median']} [{single['low']}, {single['high']}] |"
        )
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "latent_search_cpu.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
