"""Every benchmark, one after the other: ``benchmarks/results/<device>.json`` and a table of all figures beside it.

    GVAE_DATA_DIR=... python -m benchmarks [--turns 7] [--only lookahead peers] [--device cpu-quiet]

Each module is measured in a process of its own, so that none inherits threads or memory of another, and each has a
command of its own with more options. A module that fails is named at the end; the figures of the others are kept. With
``--only`` the figures of the other modules stay as an earlier run left them. Hours of processor time: nothing else
should run meanwhile.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS, Figure, device_name, machine, table

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "peers",
    "throughput",
    "lookahead",
    "callbacks",
    "precision",
    "multi_rate",
    "adversarial",
    "text",
    "data",
    "metrics",
    "startup",
    "latent_generation",
    "latent_search",
    "quality_diversity",
    "nested",
    "population",
    "scaling",
)


def measure(name: str, turns: int, target: Path) -> None:
    """The figures of one module, in this process, to a file."""
    found: list[Figure] = importlib.import_module(f"benchmarks.{name}").figures(turns)
    target.write_text(json.dumps([asdict(each) for each in found]), encoding="utf-8")


def in_own_process(name: str, turns: int) -> list[Figure] | None:
    """The figures of one module; None if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "benchmarks", "--turns", str(turns), "--measure", name, str(target)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode or not target.is_file():
            return None
        return [Figure(**each) for each in json.loads(target.read_text(encoding="utf-8"))]


def merged(path: Path, found: dict[str, list[Figure]]) -> dict[str, Any]:
    """The content of the file of results: what it held of other modules, and what was measured now."""
    kept: dict[str, Any] = {}
    check: dict[str, Any] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        check = {name: part for name, part in content.items() if name == "check"}  # of benchmarks.check_gpu
        if content.get("machine") == machine():
            kept = content["figures"]
    kept |= {name: [asdict(each) for each in figures] for name, figures in found.items()}
    return {"machine": machine(), "figures": {name: kept[name] for name in MODULES if name in kept}, **check}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=7, help="counted turns of every contender")
    parser.add_argument("--only", nargs="+", choices=MODULES, help="modules to measure")
    parser.add_argument("--device", default=device_name(), help="name of the files of results")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        measure(options.measure[0], options.turns, Path(options.measure[1]))
        return
    path, failed = RESULTS / f"{options.device}.json", []
    RESULTS.mkdir(exist_ok=True)
    for name in options.only or MODULES:
        start = time.perf_counter()
        print(f"benchmarks.{name} ...", flush=True)
        figures = in_own_process(name, options.turns)
        if figures is None:
            failed.append(name)
            continue
        content = merged(path, {name: figures})
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        rows = [Figure(**each) for part in content["figures"].values() for each in part]
        path.with_suffix(".md").write_text(table(rows), encoding="utf-8")
        print(f"{table(figures)}{(time.perf_counter() - start) / 60:.1f} minutes\n", flush=True)
    print(f"{path}\n{path.with_suffix('.md')}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; their errors stand above")


if __name__ == "__main__":
    main()
