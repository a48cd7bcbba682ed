"""Architecture evolution: our candidates a minute against the naive loop, one nested Trainer after the other.

    GVAE_DATA_DIR=... python -m benchmarks.nested [--candidates 8] [--images 2000] [--seeds 3]

The naive loop is what one writes first: for each candidate a Lightning Trainer with its default logger, checkpoint and
summary, and a DataLoader over single images. Ours is the pool of two processes of ``parallel.backend=pool``, started
and warm, as a search has it from its second generation on; its processes keep freed memory, as those of train.py do.
Both train the same genomes for an epoch on the same MNIST images, each loop shuffling in its own way; the hypervolumes
of loss and level of compression say whether the results are of equal quality.
"""

import argparse
import os
import tempfile
import time
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.architecture import candidates, training
from benchmarks.figures import Figure, device_name, figure, table, write
from lightning_gvae.callbacks.architecture_evolution.training import CandidateImages, CandidateTraining, quiet
from lightning_gvae.evolution.architecture.candidate_trainers import Result, build_trainer, candidate_seed
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.runtime import ALLOCATOR_VARIABLES

REFERENCE = (4.0, 12.0)  # of loss and level of compression, the paper's
SHARE = 0.99


def naive(work: CandidateTraining, genome: Genome, seed: int, folder: str) -> float:
    """Validation loss of a candidate, nats a pixel."""
    torch.manual_seed(seed)

    def loader(part: CandidateImages, shuffle: bool) -> DataLoader:
        tensors = TensorDataset(torch.from_numpy(part.images), torch.from_numpy(part.labels))
        return DataLoader(tensors, batch_size=work.settings.batch_size, shuffle=shuffle, drop_last=shuffle)

    model: Any = work.make(genome=genome.to_dict(), seed=seed)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=work.settings.epochs,
        default_root_dir=folder,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, loader(work.data.train, True), loader(work.data.val, False))
    return float(trainer.callback_metrics["val/recon"]) / float(np.prod(work.data.train.images.shape[1:]))


class Course:
    """The hypervolume of the candidates that are known, over time."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.seconds: list[float] = []
        self._points: list[tuple[float, float]] = []

    def add(self, loss: float, loc: float) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self._points.append((loss, loc))

    @property
    def volume(self) -> float:
        return hypervolume(self._points, REFERENCE)

    def seconds_to(self, volume: float) -> float:
        """Seconds until it was reached."""
        counts = range(1, len(self._points) + 1)
        return next(self.seconds[n - 1] for n in counts if hypervolume(self._points[:n], REFERENCE) >= volume)


def figures(turns: int, count: int = 8, images: int = 2000) -> list[Figure]:
    """A turn is a seed."""
    work = training(images)
    genomes = candidates(count, work.known)
    os.environ.update(ALLOCATOR_VARIABLES)  # for the processes of the pool; the naive loop runs in this one
    trainer = build_trainer("pool", work, 2)
    threads, courses = torch.get_num_threads(), list[dict[str, Course]]()
    try:
        trainer.train(genomes[-2:], seed=99)  # starts the processes
        for seed in range(turns):
            ours = Course()

            def known(index: int, result: Result, course: Course = ours) -> None:
                course.add(result.values["loss"], work.known(genomes[index])["loc"])

            trainer.train(genomes, seed, known)
            with tempfile.TemporaryDirectory() as folder, quiet():
                plain = Course()
                for genome in genomes:
                    plain.add(naive(work, genome, candidate_seed(seed, genome), folder), work.known(genome)["loc"])
            courses.append({"ours": ours, "naive": plain})
    finally:
        trainer.close()
        torch.set_num_threads(threads)
    facts: dict[str, Any] = {}
    for name in ("ours", "naive"):
        volumes = [turn[name].volume for turn in courses]
        facts[f"{name}_per_minute"] = round(
            60 * count / float(np.median([turn[name].seconds[-1] for turn in courses])), 1
        )
        facts[f"hypervolume_{name}"] = f"{np.mean(volumes):.3f} (sd {np.std(volumes):.3f})"
    goals = [SHARE * min(turn["ours"].volume, turn["naive"].volume) for turn in courses]
    to_goal = [
        turn["naive"].seconds_to(goal) / turn["ours"].seconds_to(goal)
        for turn, goal in zip(courses, goals, strict=True)
    ]
    whole = [turn["naive"].seconds[-1] / turn["ours"].seconds[-1] for turn in courses]
    of = "seconds of the naive nested loop / ours"
    return [
        figure("architecture evolution, candidates a minute", of, whole, **facts),
        figure(f"architecture evolution, time to {SHARE:.0%} of the smaller final hypervolume", of, to_goal),
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--images", type=int, default=2000, help="training images")
    parser.add_argument("--seeds", type=int, default=3, help="turns, each with a seed of its own")
    options = parser.parse_args(argv)
    found = figures(options.seeds, options.candidates, options.images)
    print(table(found))
    print(write(found, f"nested-{device_name()}"))


if __name__ == "__main__":
    main()
