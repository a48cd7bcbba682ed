"""What each default callback costs a training step: the run with it over the run without any, side by side.

    python -m benchmarks.callbacks [--turns 7] [--seconds 1.5]

MLP 28x28, batch 128. Every run is a process of its own, and they take turns of equal numbers of steps. ``logger`` is
the CSV logger alone, ``all`` what train.py has. Figures are drawn at the end of a run, so that theirs is not a cost of
the steps.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Checkpoint

from benchmarks.figures import Figure, device_name, figure, table, write
from benchmarks.pausing import Pausing
from benchmarks.throughput import CASES, data_for, make_model
from benchmarks.turns import Contender, take_turns
from lightning_gvae.runtime import keep_freed_memory, settle_gpu_check

ROOT = Path(__file__).resolve().parent.parent
CALLBACKS = (
    *("finite_guard", "evaluation", "history", "exact_resume", "figures", "save_on_signal", "best_checkpoint"),
    *("last_checkpoint", "progress_bar"),
)
# What a callback cannot do without is timed with it.
NEEDED = {"figures": ("history",), "save_on_signal": ("last_checkpoint",)}


def worker(which: str) -> None:
    """A run with one callback, with the logger alone, with ``all`` or with ``nothing``."""
    keep_freed_memory()
    settle_gpu_check()
    case = CASES["mlp28"]
    datamodule = data_for(case)
    with tempfile.TemporaryDirectory() as folder, initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        cfg = compose("train", [f"paths.output_dir={folder}", "trainer=cpu", "trainer.max_steps=1000000"])
        wanted = {which, *NEEDED.get(which, ())}
        chosen = [name for name in cfg.callbacks if name in wanted or which == "all"]
        callbacks: list[Any] = [instantiate(cfg.callbacks[name]) for name in chosen]
        loggers: Any = [instantiate(node) for node in cfg.logger.values()] if which in ("logger", "all") else False
        bare = {} if any(isinstance(each, Checkpoint) for each in callbacks) else {"enable_checkpointing": False}
        bar = {} if "progress_bar" in chosen else {"enable_progress_bar": False}
        trainer: L.Trainer = instantiate(
            cfg.trainer, callbacks=[*callbacks, Pausing()], logger=loggers, val_check_interval=1_000_000, **bare, **bar
        )
        trainer.fit(make_model(case), datamodule=datamodule)


def figures(turns: int, seconds: float = 1.5) -> list[Figure]:
    names = ["nothing", "logger", *CALLBACKS, "all"]
    contenders: dict[str, Contender] = {}
    try:
        for name in names:
            command = [sys.executable, "-m", "benchmarks.callbacks", "--worker", name]
            contenders[name] = Contender(command, folder=str(ROOT))
        contenders["nothing"].turn(20)
        steps = max(50, round(seconds / (contenders["nothing"].turn(50)["seconds"] / 50)))
        rounds = take_turns(contenders, steps, turns)
    finally:
        for contender in contenders.values():
            contender.close()
    plain = statistics.median(turn["nothing"]["seconds"] for turn in rounds) / steps
    found = []
    for name in names[1:]:
        ratios = [turn[name]["seconds"] / turn["nothing"]["seconds"] for turn in rounds]
        added = 1e6 * plain * (statistics.median(ratios) - 1)
        found.append(
            figure(
                f"callback {name}, MLP 28x28",
                "seconds of steps with it / without any callback or logger",
                ratios,
                added_us_a_step=round(added),
                steps_per_turn=steps,
            )
        )
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of each run")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        worker(options.worker)
        return
    found = figures(options.turns, options.seconds)
    print(table(found))
    print(write(found, f"callbacks-{device_name()}"))


if __name__ == "__main__":
    main()
