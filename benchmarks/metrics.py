"""What scores cost, in units of a training epoch over as many images, side by side.

    python -m benchmarks.metrics [--turns 5] [--images 2000]

The model is the MLP 784-400-20 on noise images: what they show makes no difference to the time. Codes and factors are
drawn at random. DCI's boosted trees are trained with ten rounds, a tenth of the default.
"""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Figure, cpu_turns, device_name, figure, table, write
from lightning_gvae.metrics.disentanglement.dci import dci
from lightning_gvae.metrics.disentanglement.mig import mig
from lightning_gvae.metrics.disentanglement.sap import sap
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.models import VAE
from lightning_gvae.rng import numpy_stream, torch_stream

LATENTS, BATCH, DRAWS = 20, 128, 10


def figures(turns: int, images: int = 2000) -> list[Figure]:
    model = VAE((1, 28, 28), latent_dim=LATENTS, network="mlp")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    pictures = torch.rand(images, 1, 28, 28, generator=torch_stream(0, "benchmark/metrics"))
    stream = numpy_stream(0, "benchmark/metrics")
    codes, factors = stream.standard_normal((images, LATENTS)), stream.integers(0, 4, (images, 5))
    half = images // 2

    def epoch() -> None:
        for x in pictures.split(BATCH):
            optimizer.zero_grad()
            terms = model.elbo_terms(x)
            (terms.recon + terms.kl).backward()
            optimizer.step()

    @torch.no_grad()
    def nll() -> None:
        for x in pictures.split(BATCH):
            iwae_nll(x, *model.encode(x), model.log_likelihood, DRAWS, torch_stream(0, "benchmark/nll"))

    work: dict[str, Any] = {
        f"importance-sampled likelihood, {DRAWS} draws": nll,
        "MIG": lambda: mig(codes, factors),
        "SAP": lambda: sap(codes[:half], factors[:half], codes[half:], factors[half:]),
        "DCI, 10 rounds": lambda: dci(codes[:half], factors[:half], codes[half:], factors[half:], seed=0, rounds=10),
    }
    rounds = cpu_turns({"epoch": epoch, **work}, turns)
    return [
        figure(
            f"score: {name}, {images} images",
            "processor seconds of it / of a training epoch over as many images",
            [turn[name] / turn["epoch"] for turn in rounds],
            seconds=round(float(np.median([turn[name] for turn in rounds])), 3),
        )
        for name in work
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5, help="counted turns of each")
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args(argv)
    found = figures(options.turns, options.images)
    print(table(found))
    print(write(found, f"metrics-{device_name()}"))


if __name__ == "__main__":
    main()
