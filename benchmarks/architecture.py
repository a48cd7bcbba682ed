"""Candidates per minute: one after the other, two processes, and Ray with two workers, side by side.

    GVAE_DATA_DIR=... python -m benchmarks.architecture [--candidates 12] [--images 2000] [--turns 3] [--minutes 8]

All train the same genomes from the same seeds on MNIST with one thread each, and give the same losses, which is
checked. Starting the processes is timed apart: a search starts them once. The contenders take turns, and ratios are of
the same turn. No turn is begun that would go beyond ``--minutes``.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_gvae.callbacks.architecture_evolution.settings import CandidateTrainingSettings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData, CandidateImages, CandidateTraining
from lightning_gvae.datamodules.mnist import MNISTDataModule
from lightning_gvae.evolution.architecture.candidate_trainers import build_trainer
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.models import ConvAutoencoder
from lightning_gvae.rng import numpy_stream

CONTENDERS = {"in-process": ("local", 1), "pool of 2": ("pool", 2), "Ray, 2 workers": ("ray", 2)}
MAX_MACS = 1e6


def training(images: int) -> CandidateTraining:
    data = MNISTDataModule(Path(os.environ.get("GVAE_DATA_DIR", "data")) / "mnist")
    data.setup()
    train, val = (
        CandidateImages(*(tensor.numpy() for tensor in split.batch(np.arange(count))))
        for split, count in ((data.train_set, images), (data.val_set, 500))
    )
    model = ConvAutoencoder(data.spec.image_shape)
    parts = CandidateData(train, val, val, val)
    return CandidateTraining(
        model.candidate_factory(), parts, model.cost_function(), CandidateTrainingSettings(epochs=1, batch_size=128)
    )


def candidates(count: int, costs: Any) -> list[Genome]:
    """Random genomes below the limit, the longest first, as a search hands them out."""
    space, found, number = GenomeSpace("robust", choices={"filters": [4, 8, 16, 32]}), list[Genome](), 0
    while len(found) < count:
        genome = space.sample(numpy_stream(0, "benchmark/genome", number))
        number += 1
        if costs(genome)["macs"] <= MAX_MACS:
            found.append(genome)
    return sorted(found, key=lambda genome: -costs(genome)["macs"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--images", type=int, default=2000, help="training images")
    parser.add_argument("--turns", type=int, default=3, help="turns of every contender")
    parser.add_argument("--minutes", type=float, default=8.0, help="wall time at most; one turn is always made")
    options = parser.parse_args(argv)
    began = time.perf_counter()
    work = training(options.images)
    genomes = candidates(options.candidates, work.known)
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    starts: dict[str, float] = {}
    losses: dict[str, list[float]] = {}
    for turn in range(options.turns):
        spent = time.perf_counter() - began
        if turn and spent * (turn + 1) / turn > 60 * options.minutes:
            print(f"{turn} of {options.turns} turns: another would go beyond {options.minutes:g} minutes")
            break
        for name, (kind, workers) in CONTENDERS.items():
            start = time.perf_counter()
            trainer = build_trainer(kind, work, workers)
            try:
                trainer.train(genomes[-workers:], seed=1)
                starts[name] = time.perf_counter() - start
                start = time.perf_counter()
                results = trainer.train(genomes, seed=0)
                rates[name].append(60 * len(genomes) / (time.perf_counter() - start))
            finally:
                trainer.close()
            losses[name] = [result.values["loss"] for result in results]
    if len({tuple(values) for values in losses.values()}) != 1:
        raise SystemExit(f"the contenders trained differently: {losses}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread a candidate, torch {torch.__version__}"
    print(
        f"{machine}; {options.candidates} candidates of at most {MAX_MACS:g} MACs, {options.images} images, 1 epoch\n"
    )
    print(
        "| backend | candidates a minute, median [lowest, highest] | times in-process | seconds to start and warm up |"
    )
    print("| --- | --- | --- | --- |")
    table = {}
    base = rates["in-process"]
    for name, values in rates.items():
        ratios = [own / other for own, other in zip(values, base, strict=True)]
        table[name] = {"median": statistics.median(values), "low": min(values), "high": max(values), "ratios": ratios}
        shown = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        spread = f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"
        print(f"| {name} | {spread} | {shown} | {starts[name]:.1f} |")
    print(f"\n{(time.perf_counter() - began) / 60:.1f} minutes in all")
    target = Path(__file__).parent / "results" / "architecture_cpu.json"
    target.parent.mkdir(exist_ok=True)
    content = {"machine": machine, "settings": vars(options), "candidates_per_minute": table, "start_seconds": starts}
    target.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
