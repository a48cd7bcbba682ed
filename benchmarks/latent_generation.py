"""A generation of the latent genetic algorithm against DEAP, and 100 searches together against one after the other.

    python -m benchmarks.latent_generation [--turns 7]

A generation: population 200, decoder 10-256-512-784, a target image; DEAP decodes one individual at a time, as a loop
written with it does. Runs: SOLVE's problem C1 with ten variables, decoder 10-20-10, population 20, 50 generations, published
settings; one after the other by our own engine and by DEAP, of which ``--sample`` runs are timed and scaled to 100.
"""

import argparse

import torch

from benchmarks.figures import Figure, cpu_turns, device_name, figure, table, write
from benchmarks.latent_search import DIMS, cases, one_by_one
from lightning_gvae.evolution.latent import GASettings, search

LOW = torch.full((DIMS,), -2.0)
GENERATIONS, RUNS = 5, 100


def of_a_generation(turns: int) -> Figure:
    decoder, problem = cases()["image"]
    settings = GASettings.paper(population=200, generations=GENERATIONS)
    rounds = cpu_turns(
        {
            "ours": lambda: search(decoder, problem, LOW, -LOW, 1, settings, seed=1),
            "deap": lambda: search(one_by_one(decoder), problem, LOW, -LOW, 1, settings, seed=1, engine="deap"),
        },
        turns,
    )
    return figure(
        "latent search, a generation of 200, MLP decoder", "processor seconds of DEAP one by one / ours",
        [turn["deap"] / turn["ours"] for turn in rounds],
        ours_ms=round(1000 * min(turn["ours"] for turn in rounds) / GENERATIONS, 2),
    )  # fmt: skip


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
    # What one core is worth: threads that wait for each other would count as work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [of_a_generation(turns), *of_hundred_runs(turns, sample)]
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
