"""Architecture evolution: our candidates a minute against the naive loop, one nested Trainer after the other.

    GVAE_DATA_DIR=... python -m benchmarks.nested [--candidates 8] [--images 2000] [--seeds 3]

The naive loop is what one writes first: for each candidate a Lightning Trainer with its default logger, checkpoint and
summary, and a DataLoader over single images. Ours is the pool of two processes of ``evaluator=pool``, started and warm, as a
search has it from its second generation on. Both train the same genomes for an epoch on the same MNIST images, each loop
shuffling in its own way; the hypervolumes of loss and level of compression say whether the results are of equal quality.
"""

import argparse
import tempfile
import time
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.architecture import candidates, training
from benchmarks.figures import Figure, device_name, figure, table, write
from lightning_gvae.callbacks.candidate_training import CandidateTraining, Part, quiet
from lightning_gvae.evolution.candidates import build_evaluator, candidate_seed
from lightning_gvae.evolution.genome import Genome
from lightning_gvae.evolution.pareto import hypervolume

REFERENCE = (4.0, 12.0)  # of loss and level of compression, the paper's


def naive(work: CandidateTraining, genome: Genome, seed: int, folder: str) -> float:
    """Validation loss of a candidate, nats a pixel."""
    torch.manual_seed(seed)

    def loader(part: Part, shuffle: bool) -> DataLoader:
        tensors = TensorDataset(torch.from_numpy(part.images), torch.from_numpy(part.labels))
        return DataLoader(tensors, batch_size=work.batch_size, shuffle=shuffle, drop_last=shuffle)

    model: Any = work.make(genome=genome.to_dict(), seed=seed)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=work.epochs, default_root_dir=folder, enable_progress_bar=False,
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(model, loader(work.data.train, True), loader(work.data.val, False))
    return float(trainer.callback_metrics["val/recon"]) / float(np.prod(work.data.train.images.shape[1:]))


def volume(work: CandidateTraining, genomes: list[Genome], losses: list[float]) -> float:
    return hypervolume([(loss, work.known(g)["loc"]) for g, loss in zip(genomes, losses, strict=True)], REFERENCE)


def figures(turns: int, count: int = 8, images: int = 2000) -> list[Figure]:
    """A turn is a seed."""
    work = training(images)
    genomes = candidates(count, work.known)
    evaluator = build_evaluator("pool", work, 2)
    threads, ratios = torch.get_num_threads(), []
    rates: dict[str, list[float]] = {"ours": [], "naive": []}
    volumes: dict[str, list[float]] = {"ours": [], "naive": []}
    try:
        evaluator.evaluate(genomes[-2:], seed=99)  # starts the processes
        for seed in range(turns):
            start = time.perf_counter()
            results = evaluator.evaluate(genomes, seed)
            ours = time.perf_counter() - start
            volumes["ours"].append(volume(work, genomes, [result.values["loss"] for result in results]))
            with tempfile.TemporaryDirectory() as folder, quiet():
                start = time.perf_counter()
                losses = [naive(work, genome, candidate_seed(seed, genome), folder) for genome in genomes]
            taken = time.perf_counter() - start
            volumes["naive"].append(volume(work, genomes, losses))
            rates["ours"].append(60 * count / ours)
            rates["naive"].append(60 * count / taken)
            ratios.append(taken / ours)
    finally:
        evaluator.close()
        torch.set_num_threads(threads)
    facts: dict[str, Any] = {f"{name}_per_minute": round(float(np.median(values)), 1) for name, values in rates.items()}
    facts |= {
        f"hypervolume_{name}": f"{np.mean(values):.3f} (sd {np.std(values):.3f})" for name, values in volumes.items()
    }
    return [
        figure(
            "architecture evolution, candidates a minute", "seconds of the naive nested loop / ours", ratios, **facts
        )
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
