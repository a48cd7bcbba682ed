"""VAE-GAN training: our run against a bare loop with the same three networks, losses and optimisers, side by side.

    python -m benchmarks.adversarial [--turns 7] [--seconds 3]

The bare loop makes the steps of one batch by hand in the same order as the model (discriminator, encoder, decoder) from
a tensor in memory, with ``randperm``, fused Adam and nothing logged.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.figures import Figure, device_name, figure, table, write
from benchmarks.throughput import SyntheticData, default_trainer, timed
from lightning_gvae.models import VAEGAN
from lightning_gvae.runtime import keep_freed_memory

SHAPE, LATENTS, BATCH, IMAGES = (1, 28, 28), 20, 64, 5000


def make() -> VAEGAN:
    return VAEGAN(SHAPE, latent_dim=LATENTS)


def images_in_memory() -> Tensor:
    return torch.randint(0, 256, (IMAGES, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def bare_loop(images: Tensor) -> Iterator[None]:
    """One batch per ``next``: three optimiser steps."""
    model = make()
    encoder, decoder, judge = model.encoder, model.decoder, model.discriminator.features
    of_encoder, of_decoder, of_discriminator = (
        torch.optim.Adam(part.parameters(), lr=5e-4, betas=(0.5, 0.999), fused=True)
        for part in (encoder, decoder, model.discriminator)
    )
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            x = images[order[start : start + BATCH]].float() / 255
            noise, prior = torch.randn(2, BATCH, LATENTS)
            with torch.no_grad():
                mean, log_var = encoder(x).chunk(2, dim=1)
                fakes = [torch.sigmoid(decoder(z)) for z in (mean + torch.exp(0.5 * log_var) * noise, prior)]
            of_discriminator.zero_grad()
            on_fakes = sum(softplus(judge(fake)[1]).mean() for fake in fakes)
            (0.5 * softplus(-judge(x)[1]).mean() + 0.25 * on_fakes).backward()
            of_discriminator.step()

            # The discriminator's own gradients are not wanted from here on.
            model.discriminator.requires_grad_(False)
            with torch.no_grad():
                target = judge(x)[0]
            mean, log_var = encoder(x).chunk(2, dim=1)
            latents = mean + torch.exp(0.5 * log_var) * noise
            decoder.requires_grad_(False)
            like = 0.5 * (judge(torch.sigmoid(decoder(latents)))[0] - target).square().flatten(1).sum(1).mean()
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
            of_encoder.zero_grad()
            (like + 0.3 * kl).backward()
            of_encoder.step()

            decoder.requires_grad_(True)
            features, on_recon = judge(torch.sigmoid(decoder(latents.detach())))
            on_prior = judge(torch.sigmoid(decoder(prior)))[1]
            like = 0.5 * (features - target).square().flatten(1).sum(1).mean()
            of_decoder.zero_grad()
            (0.03 * like + 0.5 * (softplus(-on_recon) + softplus(-on_prior)).mean()).backward()
            of_decoder.step()
            model.discriminator.requires_grad_(True)
            yield


class Batches(L.Callback):
    """Pauses our run after so many batches (for Lightning each is several steps) and gives the bare loop its turn."""

    def __init__(self, loop: Iterator[None], batches: int, turns: int) -> None:
        self.loop, self.batches, self.turns = loop, batches, turns
        self.seconds: list[dict[str, float]] = []
        self._seen, self._mark = 0, 0.0

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self._seen % self.batches == 0:
            now = time.perf_counter()
            if self._seen:
                self.seconds.append({"ours": now - self._mark, "bare": timed(self.loop, self.batches)})
            if len(self.seconds) == self.turns + 1:
                trainer.should_stop = True
            self._mark = time.perf_counter()
        self._seen += 1


def figures(turns: int, seconds: float = 3.0) -> list[Figure]:
    keep_freed_memory()
    images = images_in_memory()
    loop = bare_loop(images)
    timed(loop, 2)
    steps = max(3, round(seconds / (timed(loop, 3) / 3)))
    callback = Batches(loop, steps, turns)
    with tempfile.TemporaryDirectory() as folder:
        default_trainer(Path(folder), [callback]).fit(make(), datamodule=SyntheticData(images, BATCH))
    rounds = callback.seconds[1:]
    ratios = [turn["bare"] / turn["ours"] for turn in rounds]
    return [
        figure(
            f"training, VAE-GAN 28x28, batch {BATCH}",
            "seconds of a bare loop with fused Adam, memory kept / ours",
            ratios,
            batches_per_turn=steps,
        )
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of each")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    options = parser.parse_args(argv)
    found = figures(options.turns, options.seconds)
    print(table(found))
    print(write(found, f"adversarial-{device_name()}"))


if __name__ == "__main__":
    main()
