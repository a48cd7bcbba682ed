"""Start-up of the command line: the help, a mistake, the first batch; in units of Python with torch imported.

    python -m benchmarks.startup [--turns 7]

Every figure is a ratio to ``python -c 'import torch'`` in the same turn, since a time alone says more about the machine
than about the program; the seconds stand beside it. The first batch is that of ``train.py data=digits`` from the
command to the end of the first optimiser step. Processes are started one after the other; the first turn, which fills
the disk's cache, does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, device_name, figure, table, wall_turns, write

ROOT = Path(__file__).resolve().parent.parent
ONE_STEP = [
    "train.py",
    "data=digits",
    "trainer=cpu",
    "trainer.max_steps=1",
    "callbacks=none",
    "logger.csv=null",
    "test=false",
]
COMMANDS = {
    "train.py --help": ["train.py", "--help"],
    "a mistake, train.py model=nope": ["train.py", "model=nope"],
    "the first batch, train.py data=digits": ONE_STEP,
}


def run(arguments: list[str], folder: str) -> None:
    extra = [f"hydra.run.dir={folder}"] if "trainer.max_steps=1" in arguments else []
    subprocess.run(
        [sys.executable, *arguments, *extra],
        cwd=ROOT,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "WANDB_MODE": "disabled"},
    )


def figures(turns: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        contenders = {name: lambda part=part: run(part, folder) for name, part in COMMANDS.items()}
        rounds = wall_turns({"torch": lambda: run(["-c", "import torch"], folder), **contenders}, turns)
    return [
        figure(
            f"start-up: {name}",
            "seconds of it / seconds of python -c 'import torch'",
            [turn[name] / turn["torch"] for turn in rounds],
            seconds=round(statistics.median(turn[name] for turn in rounds), 2),
        )
        for name in COMMANDS
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted starts of each")
    options = parser.parse_args(argv)
    found = figures(options.turns)
    print(table(found))
    print(write(found, f"startup-{device_name()}"))


if __name__ == "__main__":
    main()
