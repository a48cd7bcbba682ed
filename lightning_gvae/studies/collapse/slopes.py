"""Speed of a metric over generations: least-squares slopes, one a chain of generations."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.io.files import write_csv

__all__ = ["chains", "first_below", "read_rows", "slope", "slopes", "write_rows"]

KEYS = ("data", "model", "policy", "seed", "generation")
Row = dict[str, Any]


def slope(values: Sequence[float]) -> float:
    """Least-squares slope of values at generations 0, 1, ...

    >>> slope([1.0, 3.0, 5.0])
    2.0

    Raises:
        ConfigError: Fewer than two values, or one is not finite.
    """
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        raise ConfigError(f"a slope needs at least two finite values, got {list(values)}")
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    return float(steps @ np.asarray(values, dtype=np.float64) / (steps @ steps))


def first_below(values: Sequence[float], share: float = 0.5) -> int | None:
    """First generation whose value is below ``share`` of generation 0's; None if there is none.

    >>> first_below([0.8, 0.5, 0.39, 0.6]), first_below([0.8, 0.7])
    (2, None)
    """
    return next((number for number, value in enumerate(values) if value < share * values[0]), None)


def chains(rows: Iterable[Mapping[str, Any]], metric: str) -> dict[tuple[str, str], dict[int, list[float]]]:
    """Values of a metric in the order of the generations, by ``(model, policy)`` and by seed.

    Models without the metric are left out.
    """
    found: dict[tuple[str, str], dict[int, list[tuple[int, float]]]] = {}
    for row in rows:
        if row.get(metric) is not None:
            seeds = found.setdefault((row["model"], row["policy"]), {})
            seeds.setdefault(row["seed"], []).append((row["generation"], row[metric]))
    return {
        key: {seed: [value for _, value in sorted(pairs)] for seed, pairs in sorted(seeds.items())}
        for key, seeds in found.items()
    }


def slopes(rows: Iterable[Mapping[str, Any]], metric: str, policy: str) -> dict[str, dict[int, float]]:
    """Slope of a metric under one policy, by model and by seed."""
    return {
        model: {seed: slope(values) for seed, values in seeds.items()}
        for (model, name), seeds in chains(rows, metric).items()
        if name == policy
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a generation: data, model, policy, seed, generation and every metric by name."""
    names = [*KEYS, *sorted({name for row in rows for name in row} - set(KEYS))]
    write_csv(path, names, rows)


def read_rows(path: Path) -> list[Row]:
    """Rows that :func:`write_rows` wrote.

    Raises:
        DataError: The file is missing or is another one.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no table of a collapse study ({error}); run the study again") from error


def _row(line: Mapping[str, str]) -> Row:
    texts: Row = {name: line[name] for name in ("data", "model", "policy")}
    numbers = {name: int(line[name]) for name in ("seed", "generation")}
    return texts | numbers | {name: float(text) for name, text in line.items() if name not in KEYS and text != ""}
