"""A training step of one network for every KL weight against a step of the plain VAE.

    python -m benchmarks.multi_rate [--turns 15]

Both make the same steps on the same batch of 128 images in this process, taking turns, Adam included. Ratios
of processor time stand beside those of wall time: other programs on the machine do not count in them.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.figures import Figure, cpu_turns, device_name, figure, table, wall_turns, write
from lightning_gvae.models import VAE, MultiRateVAE
from lightning_gvae.rng import torch_stream
from lightning_gvae.runtime import keep_freed_memory

SHAPE = (1, 28, 28)
STEPS = {"mlp": 20, "conv": 5}
DRAWS = (16, None)


def stepper(model: VAE, steps: int) -> Callable[[], None]:
    """Function that makes so many optimiser steps."""
    images = torch.rand(128, *SHAPE, generator=torch_stream(0, "images"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def work() -> None:
        for step in range(steps):
            optimizer.zero_grad()
            model.loss(model.trained_terms(images, torch_stream(0, "noise", step))).backward()
            optimizer.step()

    return work


def figures(turns: int) -> list[Figure]:
    keep_freed_memory()
    found = []
    for network, steps in STEPS.items():
        shared: dict[str, Any] = {"latent_dim": 20, "network": network}
        work = {"plain": stepper(VAE(SHAPE, **shared), steps)}
        for draws in DRAWS:
            work[str(draws)] = stepper(MultiRateVAE(SHAPE, draws_per_batch=draws, **shared), steps)
        wall, cpu = wall_turns(work, turns), cpu_turns(work, turns)
        for draws in DRAWS:
            found.append(
                figure(
                    f"multi-rate VAE, {network} 28x28, {draws or 'one an image'} draws a batch of 128",
                    "seconds of a step / seconds of the plain VAE's",
                    [turn[str(draws)] / turn["plain"] for turn in wall],
                    processor_time=round(statistics.median(turn[str(draws)] / turn["plain"] for turn in cpu), 3),
                    plain_ms=round(1e3 * statistics.median(turn["plain"] for turn in wall) / steps, 2),
                )
            )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args(argv)
    found = figures(options.turns)
    print(table(found))
    print(write(found, f"multi-rate-{device_name()}"))


if __name__ == "__main__":
    main()
