"""Tables of a study: means with intervals, ranges, and a CSV file with one row a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.io.files import write_csv
from lightning_gvae.report.page import format_number
from lightning_gvae.studies.intervals import Interval, mean_interval

__all__ = ["mean_text", "range_text", "write_results"]


def mean_text(values: Sequence[float]) -> str:
    """Mean and half the width of its 95 % interval; the mean alone of equal values, nothing if one is missing.

    >>> mean_text([2.0, 3.0, 4.0]), mean_text([1.0, 1.0 + 4e-16, 1.0])
    ('3 \u00b1 2.5', '1')
    """
    if not np.isfinite(values).all():
        return ""
    interval = mean_interval(values)
    rounding = 1e-12 * abs(interval.mean)
    if interval.high - interval.mean <= rounding or interval.seeds == 1:
        return format_number(interval.mean)
    return f"{format_number(interval.mean)} \u00b1 {interval.high - interval.mean:.2g}"


def range_text(interval: Interval) -> str:
    """Both ends of an interval."""
    return f"{format_number(interval.low)} to {format_number(interval.high)}"


def write_results(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """One row a run: arm, seed, every metric by name, and the command that repeats it."""
    names = sorted({name for result in results for name in result["metrics"]})
    rows = [{**result["metrics"], **{name: result[name] for name in ("arm", "seed", "command")}} for result in results]
    write_csv(path, ["arm", "seed", *names, "command"], rows)
