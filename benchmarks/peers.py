"""Our training run against other people's, side by side: images a second and peak memory.

    make bench-peers                                   # builds .venv-peers with pythae, then runs this
    python -m benchmarks.peers [--case mlp28] [--turns 15] [--seconds 1] [--without pythae]

Every contender is a process of its own, turned on one after the other for the same number of steps with the same
network, batch size and images, the data pipeline included. Ratios are formed turn by turn; turns are short, so that a
machine that drifts slows all of a turn alike. Memory is the peak of each process.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Figure, device_name, figure, table, write
from benchmarks.throughput import CASES, images_for
from benchmarks.turns import Contender, take_turns

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
OF = {
    "bare": "seconds of a bare loop with plain Adam / ours",
    "bare_best": "seconds of the best bare loop (fused Adam, memory kept) / ours",
    "ptvae": "seconds of a loop in the manner of PyTorch-VAE / ours",
    "pythae": "seconds of pythae's trainer / ours",
}
SECONDS = 1.0  # of a turn of ours
NAMES = {"mlp28": "training, MLP 28x28, batch 128", "conv64": "training, conv 64x64, batch 128"}


def start(name: str, case: str, folder: Path) -> Contender:
    """Start a contender; that of pythae finds its images in a file."""
    if name == "ours":
        return Contender([sys.executable, "-m", "benchmarks.contender_ours", case], folder=str(ROOT))
    if name != "pythae":
        return Contender([sys.executable, "-m", "benchmarks.contenders", name, case], folder=str(ROOT))
    file = folder / f"{case}.pt"
    torch.save(images_for(CASES[case]).clone(), file)
    return Contender([str(PEERS), str(ROOT / "benchmarks" / "contender_pythae.py"), case, str(file)])


def measure(case: str, names: list[str], turns: int, seconds: float) -> list[Figure]:
    """Figures of one case, a ratio to every other contender."""
    contenders: dict[str, Contender] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in names:
                contenders[name] = start(name, case, Path(folder))
            contenders["ours"].turn(5)
            steps = max(5, round(seconds / (contenders["ours"].turn(5)["seconds"] / 5)))
            rounds = take_turns(contenders, steps, turns)
        finally:
            for contender in contenders.values():
                contender.close()
    return [_figure(case, name, rounds, steps) for name in names if name != "ours"]


def _figure(case: str, name: str, rounds: list[dict[str, dict[str, Any]]], steps: int) -> Figure:
    images = steps * CASES[case]["batch_size"]
    facts: dict[str, Any] = {}
    for each in ("ours", name):
        facts[f"{each}_images_per_s"] = round(images / statistics.median(turn[each]["seconds"] for turn in rounds))
        facts[f"{each}_peak_mb"] = max(turn[each]["peak_mb"] for turn in rounds)
    cpu = statistics.median(turn[name]["cpu_seconds"] / turn["ours"]["cpu_seconds"] for turn in rounds)
    facts |= {"cpu_ratio": round(cpu, 3), "steps_per_turn": steps}
    return figure(NAMES[case], OF[name], [turn[name]["seconds"] / turn["ours"]["seconds"] for turn in rounds], **facts)


def contenders(pythae: bool) -> list[str]:
    """Ours first."""
    return ["ours", "bare", "bare_best", "ptvae", *(["pythae"] if pythae else [])]


def figures(turns: int) -> list[Figure]:
    """Against the contenders of this environment, and against pythae if it is there; short turns, so twice as many."""
    return [each for case in CASES for each in measure(case, contenders(PEERS.is_file()), 2 * turns + 1, SECONDS)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", choices=list(CASES), help="default: all")
    parser.add_argument("--turns", type=int, default=15, help="counted turns of every contender")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a turn of ours")
    parser.add_argument("--without", choices=["pythae"], help="leave the peers' environment out")
    options = parser.parse_args(argv)
    if options.without is None and not PEERS.is_file():
        raise SystemExit(f"there is no {PEERS.relative_to(ROOT)}: run `make bench-peers`, or give --without pythae")
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    cases, names = [options.case] if options.case else list(CASES), contenders(options.without is None)
    found = [each for case in cases for each in measure(case, names, options.turns, options.seconds)]
    print(table(found))
    print(write(found, f"peers-{device_name()}"))


if __name__ == "__main__":
    main()
