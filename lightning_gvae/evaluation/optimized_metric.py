"""One number out of a run's scores, for a search of hyper-parameters; and the runs of a search, best first."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError, GvaeError

__all__ = ["OptimizedMetricError", "optimized_metric", "ranking"]

SCALES = ("log", "plain")


class OptimizedMetricError(GvaeError, ValueError):
    """The metric cannot be computed from what the run measured."""


def optimized_metric(
    metrics: Mapping[str, float],
    terms: Mapping[str, float],
    scale: str = "log",
    left_out: Mapping[str, str] | None = None,
) -> float:
    """Weighted sum of scores, or of their logarithms, so that factors count and units do not.

    >>> round(optimized_metric({"score/vendi/domain/n9-seed0/prior": 4.0, "score/fid/domain/prior": 2.0},
    ...                       {"vendi": 1.0, "fid": -1.0}), 4)
    0.6931

    Args:
        metrics: Final metrics of the run by name.
        terms: Weight of each score; named whole, or by its beginning without ``score/`` (``vendi`` finds
            ``score/vendi/domain/n10000-seed0/prior``). Standard deviations and scores of real images do not count.
        scale: ``log`` or ``plain``.
        left_out: Scores that could not be computed, with the reasons, for the message.

    Raises:
        ConfigError: There is no term, a weight is not finite, ``scale`` is another word, or a name fits several
            metrics.
        OptimizedMetricError: A name fits no metric, or its value is not finite, or not positive under ``log``.
    """
    if not terms:
        raise ConfigError("`optimized_metric.terms` must name at least one score with its weight")
    if scale not in SCALES:
        raise ConfigError(f"`optimized_metric.scale` must be one of {', '.join(SCALES)}, got {scale!r}")
    total = 0.0
    for name, weight in terms.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ConfigError(f"`optimized_metric.terms.{name}` must be a finite weight, got {weight!r}")
        value = metrics[_found(name, metrics, left_out or {})]
        if not math.isfinite(value) or (scale == "log" and value <= 0):
            raise OptimizedMetricError(f"the score {name} is {value:g}, of which no {scale} metric can be made")
        total += weight * (math.log(value) if scale == "log" else value)
    return total


def ranking(folder: Path) -> list[dict[str, Any]]:
    """Finished runs below a multirun's folder, best metric first.

    Args:
        folder: Where the runs lie, each with its ``run.json``.

    Returns:
        For each ``optimized_metric``, ``run`` (name of its folder) and ``overrides``.
    """
    rows = []
    for path in sorted(folder.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        metrics = record.get("metrics") or {}
        value = metrics.get("optimized_metric", metrics.get("objective"))  # the latter until release 0.1
        if value is not None:
            overrides = path.parent / ".hydra" / "overrides.yaml"
            chosen = overrides.read_text(encoding="utf-8").split("\n") if overrides.is_file() else []
            what = " ".join(line.removeprefix("- ").strip("'") for line in chosen if line)
            rows.append({"optimized_metric": value, "run": path.parent.name, "overrides": what})
    return sorted(rows, key=lambda row: -row["optimized_metric"])


def _found(name: str, metrics: Mapping[str, float], left_out: Mapping[str, str]) -> str:
    if name in metrics:
        return name
    fitting = [
        metric
        for metric in metrics
        if metric.startswith((f"score/{name}/", f"{name}/")) and not metric.endswith(("_sd", "/real"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(
            f"`optimized_metric.terms.{name}` fits several metrics ({', '.join(sorted(fitting))}); name one of "
            "them whole"
        )
    plain = name.removeprefix("score/")
    if reasons := {why for left, why in left_out.items() if left == plain or left.startswith(f"{plain}/")}:
        raise OptimizedMetricError(f"`optimized_metric.terms.{name}` cannot be computed: {'; '.join(sorted(reasons))}")
    known = ", ".join(sorted(name for name in metrics if name.startswith("score/"))) or "none"
    raise OptimizedMetricError(
        f"`optimized_metric.terms.{name}` fits no metric of the run; name it in `metrics` too. Scores are: {known}"
    )
