"""Convolutions in bf16 and with the channels innermost: speed and final loss beside those of fp32.

    python -m benchmarks.precision [--turns 7] [--seconds 3] [--steps 600]

dSprites 64x64, batch 128, memory kept. The ways are runs in processes of their own that take turns; the losses are the
mean of the last fifth of ``--steps`` steps of the same run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.figures import Figure, device_name, figure, table, write
from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, data_for, default_trainer, make_model
from benchmarks.turns import Contender, take_turns
from lightning_gvae.callbacks.channels_last import ChannelsLast
from lightning_gvae.runtime import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
WAYS = {
    "fp32": ("32-true", False),
    "fp32, channels_last": ("32-true", True),
    "bf16": ("bf16-mixed", False),
    "bf16, channels_last": ("bf16-mixed", True),
}


class Losses(L.Callback):
    """Loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
        self.values.append(float(outputs["loss"]))


def worker(way: str, steps: int) -> None:
    """Pause between turns, or with ``steps`` make so many and print the final loss."""
    keep_freed_memory()
    precision, innermost = WAYS[way]
    torch.manual_seed(0)  # the same start for all
    datamodule = data_for(CASES["conv64"])
    losses = Losses()
    callbacks: list[Any] = [ChannelsLast()] if innermost else []
    callbacks.append(losses if steps else Pausing())
    with tempfile.TemporaryDirectory() as folder:
        trainer = default_trainer(Path(folder), callbacks, [f"trainer.precision={precision}"])
        trainer.fit_loop.epoch_loop.max_steps = steps or 1_000_000
        trainer.fit(make_model(CASES["conv64"]), datamodule=datamodule)
    if steps:
        print(json.dumps(statistics.mean(losses.values[-max(1, steps // 5) :])))


def command(way: str, steps: int = 0) -> list[str]:
    return [sys.executable, "-m", "benchmarks.precision", "--worker", way, "--steps", str(steps)]


def figures(turns: int, seconds: float = 3.0, steps: int = 600) -> list[Figure]:
    contenders: dict[str, Contender] = {}
    try:
        for way in WAYS:
            contenders[way] = Contender(command(way), folder=str(ROOT))
        contenders["fp32"].turn(3)
        length = max(3, round(seconds / (contenders["fp32"].turn(3)["seconds"] / 3)))
        rounds = take_turns(contenders, length, turns)
    finally:
        for contender in contenders.values():
            contender.close()
    losses = {}
    for way in WAYS:
        done = subprocess.run(command(way, steps), cwd=ROOT, check=True, capture_output=True, text=True)
        losses[way] = round(float(done.stdout.splitlines()[-1]), 2)
    return [
        figure(
            f"training, conv 64x64, {way}",
            "seconds in fp32 / in this precision and layout",
            [turn["fp32"]["seconds"] / turn[way]["seconds"] for turn in rounds],
            loss=losses[way],
            loss_fp32=losses["fp32"],
            steps=steps,
        )
        for way in list(WAYS)[1:]
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of each way")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn")
    parser.add_argument("--steps", type=int, default=600, help="steps after which losses are compared")
    parser.add_argument("--worker", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        worker(options.worker, options.steps)
        return
    found = figures(options.turns, options.seconds, options.steps)
    print(table(found))
    print(write(found, f"precision-{device_name()}"))


if __name__ == "__main__":
    main()
