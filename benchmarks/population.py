"""A population of members in one run against as many separate runs of the same steps.

    python -m benchmarks.population [--turns 7] [--members 8] [--cases mlp28 conv28]

A run of the population and a plain run, each in a process of its own and as ``train.py`` makes it, take turns; in a
turn of the population's N steps the plain run makes M times N. So what starting M programs costs is left out. Given for
wall time and for seconds of the processors, which other programs on the machine disturb less. Needs MNIST.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Figure, device_name, figure, table, write
from benchmarks.pausing import Pausing
from benchmarks.throughput import data_for, default_trainer
from benchmarks.turns import Contender
from lightning_gvae.callbacks.population_evolution import PopulationEvolution
from lightning_gvae.evolution.population import PopulationSearch
from lightning_gvae.models import VAE
from lightning_gvae.runtime import keep_freed_memory

STEPS = {"mlp28": 60, "conv28": 8}  # of each member in a turn
CASE: dict[str, Any] = {"data": "mnist", "image_shape": (1, 28, 28), "batch_size": 128, "latent_dim": 20}
OF = "{} of a population of {} / {} of as many single runs"


def of_case(name: str, members: int, turns: int, way: str = "auto") -> list[Figure]:
    """Ratios of wall time and of seconds of the processors, below 1 if the population is faster."""
    command = [sys.executable, "-m", "benchmarks.population", "--worker", name]
    one, many = Contender([*command, "1", "single"]), Contender([*command, str(members), way])
    rounds = []
    try:
        for turn in range(turns + 1):
            pair = [(many, STEPS[name]), (one, members * STEPS[name])]
            seconds = {id(who): who.turn(steps) for who, steps in (pair if turn % 2 else reversed(pair))}
            rounds.append((seconds[id(many)], seconds[id(one)]))
    finally:
        one.close()
        many.close()
    found = []
    for clock, key in (("wall time", "seconds"), ("seconds of the processors", "cpu_seconds")):
        ratios = [ours[key] / theirs[key] for ours, theirs in rounds[1:]]
        facts = {
            "way": way,
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 1),
            "peak_mb": rounds[-1][0]["peak_mb"],
            "peak_mb_single": rounds[-1][1]["peak_mb"],
        }
        found.append(figure(f"population of {members}, {name}", OF.format(clock, members, clock), ratios, **facts))
    return found


def worker(name: str, members: int, way: str) -> None:
    """One run as train.py makes it, pausing between turns."""
    keep_freed_memory()
    torch.manual_seed(0)
    callbacks: list[Any] = [Pausing()]
    if way != "single":
        search = PopulationSearch(members, {"beta": {"low": 0.1, "high": 10.0}})
        callbacks.append(PopulationEvolution(search, training=way))  # type: ignore[arg-type]
    model = VAE(CASE["image_shape"], latent_dim=CASE["latent_dim"], network=name.removesuffix("28"))
    with tempfile.TemporaryDirectory() as folder:
        default_trainer(Path(folder), callbacks).fit(model, datamodule=data_for(CASE))


def figures(turns: int) -> list[Figure]:
    return [each for name in STEPS for each in of_case(name, 8, turns)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of each")
    parser.add_argument("--members", type=int, default=8, help="members of the population")
    parser.add_argument("--cases", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--way", default="auto", choices=("auto", "stacked", "one_by_one"), help="way of training")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        name, members, way = options.worker
        worker(name, int(members), way)
        return
    keep_freed_memory()
    found = [each for name in options.cases for each in of_case(name, options.members, options.turns, options.way)]
    print(table(found))
    print(write(found, f"population-{device_name()}"))


if __name__ == "__main__":
    main()
