"""Figures of a benchmark: ratios measured side by side, each with its spread and what it is a ratio of."""

import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

__all__ = ["Figure", "cpu_turns", "device_name", "figure", "machine", "table", "wall_turns", "write"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One line of the results.

    Args:
        name: What is measured, for example ``"MLP 28x28, training"``.
        of: What is divided by what, for example ``"seconds of the bare loop / seconds of ours"``.
        median: Median of the ratios of the turns.
        low: Lower quartile.
        high: Upper quartile.
        turns: How many turns.
        facts: Further numbers: rates, memory, losses, with their units in the names.
    """

    name: str
    of: str
    median: float
    low: float
    high: float
    turns: int
    facts: Mapping[str, Any] = field(default_factory=dict)


def figure(name: str, of: str, ratios: Sequence[float], **facts: Any) -> Figure:
    """Figure of the ratios of the turns; a single one has no spread."""
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    median, low, high = (float(f"{value:.4g}") for value in (median, low, high))
    return Figure(name, of, median, low, high, len(ratios), facts)


def wall_turns(work: Mapping[str, Callable[[], Any]], turns: int) -> list[dict[str, float]]:
    """Seconds of each contender in each turn; every other turn goes through them backwards, and one warms up."""
    return _turns(work, turns, time.perf_counter)


def cpu_turns(work: Mapping[str, Callable[[], Any]], turns: int) -> list[dict[str, float]]:
    """The same in seconds of this process's processors: other programs on the machine do not count."""
    return _turns(work, turns, time.process_time)


def _turns(work: Mapping[str, Callable[[], Any]], turns: int, clock: Callable[[], float]) -> list[dict[str, float]]:
    rounds: list[dict[str, float]] = []
    for turn in range(turns + 1):
        seconds: dict[str, float] = {}
        for name in list(work) if turn % 2 else reversed(list(work)):
            start = clock()
            work[name]()
            seconds[name] = clock() - start
        rounds.append(seconds)
    return rounds[1:]


def device_name() -> str:
    """Name for the file of results: that of the GPU, or the processor's architecture, capability and threads."""
    if torch.cuda.is_available():
        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    return f"cpu-{platform.machine()}-{capability()}-{torch.get_num_threads()}"


def capability() -> str:
    """Instructions that torch's kernels use here, such as ``avx2`` or ``avx512``."""
    return torch.backends.cpu.get_cpu_capability().lower()


def machine() -> dict[str, Any]:
    """Circumstances that the figures depend on."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        processor = names[0] if names else processor
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": processor,
        "capability": capability(),
        "bf16": any(name in info.read_text(encoding="utf-8") for name in ("avx512_bf16", "amx_bf16"))
        if info.is_file()
        else None,
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def table(figures: Sequence[Figure]) -> str:
    """Markdown table."""
    lines = ["| figure | ratio of | median [quartiles] | turns | |", "| --- | --- | --- | --- | --- |"]
    for each in figures:
        facts = ", ".join(f"{name} {value}" for name, value in each.facts.items())
        lines.append(f"| {each.name} | {each.of} | {each.median} [{each.low}, {each.high}] | {each.turns} | {facts} |")
    return "\n".join(lines) + "\n"


def write(figures: Sequence[Figure], name: str, folder: Path = RESULTS) -> Path:
    """Write ``<name>.json`` and ``<name>.md`` to ``folder``.

    Returns:
        Path of the JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "figures": [asdict(each) for each in figures]}
    target = folder / f"{name}.json"
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(table(figures), encoding="utf-8")
    return target
