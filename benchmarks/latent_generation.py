"""A generation of the latent genetic algorithm against DEAP, and 100 searches together against one after the other.

    python -m benchmarks.latent_generation [--turns 7]

A generation: population 200, the algorithm as published, with DEAP as in ``benchmarks.deap_loop``, which decodes one
individual at a time. Two fully connected decoders: SOLVE's, 10-20-10, and 10-256-512-784 with a target image. Seconds
of the clock, with the threads that torch takes by itself. Runs: SOLVE's problem C1 with ten variables, decoder
10-20-10, population 20, 50 generations, published settings; one after the other by our own engine and by DEAP, of which
``--sample`` runs are timed and scaled to 100.
"""

import argparse
import itertools
import statistics

import torch

from benchmarks.deap_loop import deap_search
from benchmarks.figures import Figure, cpu_turns, device_name, figure, table, wall_turns, write
from benchmarks.latent_search import DIMS, cases
from lightning_gvae.evolution.latent.search import GASettings, search

BOUND = 2.0
LOW = torch.full((DIMS,), -BOUND)
POPULATION, RUNS = 200, 100
DECODERS = {"small": "MLP decoder 10-20-10", "image": "MLP decoder 10-256-512-784"}


def of_a_generation(case: str, turns: int, generations: int = 50) -> Figure:
    decoder, problem = cases()[case]
    settings = GASettings.paper(POPULATION, generations)
    best: dict[str, list[float]] = {"ours": [], "deap": []}
    seeds = {name: itertools.count() for name in best}

    def ours() -> None:
        found = search(decoder, problem, LOW, -LOW, 1, settings, seed=next(seeds["ours"]))
        best["ours"].append(float(found.history["best_objective"][-1, 0]))

    def deap() -> None:
        seed = next(seeds["deap"])
        best["deap"].append(deap_search(decoder, problem, DIMS, BOUND, POPULATION, generations, seed))

    with torch.inference_mode():  # as the callback has it
        rounds = wall_turns({"ours": ours, "deap": deap}, turns)
    return figure(
        f"latent search, a generation of {POPULATION}, {DECODERS[case]}",
        "seconds of DEAP one by one / ours",
        [turn["deap"] / turn["ours"] for turn in rounds],
        ours_ms=round(1000 * statistics.median(turn["ours"] for turn in rounds) / (generations + 1), 2),
        best_ours=float(f"{statistics.mean(best['ours']):.4g}"),
        best_deap=float(f"{statistics.mean(best['deap']):.4g}"),
    )


def of_hundred_runs(turns: int, sample: int) -> list[Figure]:
    decoder, problem = cases()["small"]
    settings = GASettings.paper()

    def after_each_other(engine: str) -> None:
        for seed in range(sample):
            search(decoder, problem, LOW, -LOW, 1, settings, seed=seed, engine=engine)  # type: ignore[arg-type]

    rounds = cpu_turns(
        {
            "together": lambda: search(decoder, problem, LOW, -LOW, RUNS, settings, seed=1),
            "ours": lambda: after_each_other("torch"),
            "DEAP": lambda: after_each_other("deap"),
        },
        turns,
    )
    return [
        figure(
            f"SOLVE, {RUNS} runs, C1 with 10 variables",
            f"processor seconds one after the other ({name}) / together",
            [turn[name] * RUNS / sample / turn["together"] for turn in rounds],
            runs_timed=sample,
        )
        for name in ("ours", "DEAP")
    ]


def figures(turns: int, sample: int = 5) -> list[Figure]:
    found = [of_a_generation(case, turns) for case in DECODERS]
    # What one core is worth: threads that wait for each other would count as work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*found, *of_hundred_runs(turns, sample)]
    finally:
        torch.set_num_threads(threads)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of every contender")
    parser.add_argument("--sample", type=int, default=5, help="runs timed one after the other, of 100")
    options = parser.parse_args(argv)
    found = figures(options.turns, options.sample)
    print(table(found))
    print(write(found, f"latent-generation-{device_name()}"))


if __name__ == "__main__":
    main()
