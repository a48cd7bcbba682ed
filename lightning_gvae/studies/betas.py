"""Which way of setting the KL weight is best at equal compute: the study of the first paper, done fairly.

Every arm gets the same compute in optimiser steps, evolution's passes counted (``ComputeBudget``), the same data, network
and seeds. Arms that hold the KL are compared by their distortion at exactly the target,
``D + beta (KL - target)``: on the rate-distortion frontier the slope is ``-beta`` (Alemi et al., Fixing a broken ELBO,
2018), so small misses of the target are made up for.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.comparison import end_points, method_curves
from lightning_gvae.plots.style import save
from lightning_gvae.report import Table, format_number, write_report
from lightning_gvae.run import read_checkpoint, read_record
from lightning_gvae.studies.cells import Cell, by_arm, run_cells
from lightning_gvae.studies.intervals import Interval, mean_interval, paired_difference

__all__ = ["BetasStudy"]

CURVES = ("train/kl", "train/elbo", "train/recon", "train/beta")
COLUMNS = {
    "steps": "optimiser steps",
    "extra": "extra compute (%)",
    "beta": "beta",
    "test/kl": "KL (nats)",
    "test/recon": "D (nats)",
    "test/elbo": "ELBO (nats)",
    "at_target": "D at the target (nats)",
    "test/active_units": "active units",
}


class BetasStudy:
    """Runs every arm with every seed and writes tables, figures and the answer.

    Args:
        arms: Overrides of ``train.py`` by arm.
        holding: Arms that hold the KL at the target, which are compared at equal KL.
        questions: Pairs of arms, the first of which is asked to be better than the second.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report), ``target_kl`` (nats), ``budget`` (optimiser steps) and
            ``overrides`` of all arms.
        name: Name of the study.

    Raises:
        ConfigError: There is no arm or no seed, or a question names an unknown arm.
    """

    def __init__(
        self,
        arms: Mapping[str, Sequence[str]],
        holding: Sequence[str],
        questions: Sequence[Sequence[str]],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        name: str = "betas",
    ) -> None:
        if not arms or not seeds:
            raise ConfigError(f"the study needs at least one arm and one seed, got {len(arms)} and {len(seeds)}")
        unknown = {arm for pair in [holding, *questions] for arm in pair} - arms.keys()
        if unknown:
            raise ConfigError(f"`questions` and `holding` may name {', '.join(arms)}, got {', '.join(sorted(unknown))}")
        self.arms, self.holding, self.questions = arms, list(holding), [tuple(pair) for pair in questions]
        self.seeds, self.scale, self.name = list(seeds), scale, name

    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a study that is broken off has whole seeds."""
        common = (
            *self.scale["overrides"],
            f"target_kl={self.scale['target_kl']}",
            f"trainer.max_steps={self.scale['budget']}",
            "+callbacks.compute_budget._target_=lightning_gvae.callbacks.compute_budget.ComputeBudget",
            f"+callbacks.compute_budget.steps={self.scale['budget']}",
        )
        return [Cell(arm, seed, (*overrides, *common)) for seed in self.seeds for arm, overrides in self.arms.items()]

    def run(self, folder: Path, workers: int = 1) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        cells = self.cells()
        results = run_cells(cells, folder / "cells", collect, workers)
        return self.report(list(results.values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        for result in results:
            metrics = result["metrics"]
            off = metrics["test/kl"] - self.scale["target_kl"]
            held = result["arm"] in self.holding
            metrics["at_target"] = metrics["test/recon"] + metrics["beta"] * off if held else float("nan")
        arms = by_arm(results)
        tables = [self._table(arms), self._questions(arms)]
        _write_csv(folder / "results.csv", results)
        (folder / "tables.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
        figures = self._figures(arms, folder / "figures")
        facts = {
            "scale": self.scale["about"],
            "runs": len(results),
            "seeds": self.seeds,
            "budget": f"{self.scale['budget']:,} optimiser steps a run, evolution's passes counted",
            "wall_seconds": sum(result["wall_seconds"] for result in results),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        commands = "\n".join(result["command"] for result in results)
        title = f"The KL weight at equal compute ({self.scale['name']} scale)"
        return write_report(
            folder / "report.html", title, "\n\n".join(self.answers(arms)), {}, figures, commands, facts, tables
        )

    def answers(self, arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
        """One sentence a question."""
        return [_answer(first, second, _difference(arms, first, second)) for first, second in self.questions]

    def _table(self, arms: Mapping[str, Sequence[dict[str, Any]]]) -> Table:
        scores = sorted({name for group in arms.values() for name in group[0]["metrics"]} - {*COLUMNS, "train/beta"})
        columns = {**COLUMNS, **{name: name for name in scores if name.startswith("score/")}}
        rows = []
        for arm, group in arms.items():
            values = {name: [result["metrics"].get(name, float("nan")) for result in group] for name in columns}
            rows.append([arm, *(_cell(numbers) for numbers in values.values())])
        caption = (
            f"Mean over {len(self.seeds)} seeds and half the width of its 95 % interval; D and KL on the test set."
        )
        return Table("Results", caption, ["arm", *columns.values()], rows)

    def _questions(self, arms: Mapping[str, Sequence[dict[str, Any]]]) -> Table:
        rows = []
        for first, second in self.questions:
            gap = _difference(arms, first, second)
            rows.append([f"{first} - {second}", format_number(gap.mean), _range(gap), _verdict(gap)])
        caption = "Distortion at exactly the target, paired by seed; below zero the first arm is better."
        return Table("Questions", caption, ["difference", "mean (nats)", "95 % interval", "better"], rows)

    def _figures(self, arms: Mapping[str, Sequence[dict[str, Any]]], folder: Path) -> list[tuple[str, str, Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        target = float(self.scale["target_kl"])
        ends = {
            arm: np.array([[r["metrics"]["test/kl"], r["metrics"]["test/recon"]] for r in group])
            for arm, group in arms.items()
        }
        drawn = [
            ("end_points", "Rate and distortion", "One point a run; dashed: the target.", end_points(ends, target))
        ]
        for name, title, label, log in (
            ("train/kl", "KL over training", "KL (nats)", False),
            ("train/elbo", "ELBO over training", "ELBO (nats)", False),
            ("train/beta", "KL weight over training", "beta", True),
        ):
            curves = {arm: [_series(result, name) for result in group] for arm, group in arms.items()}
            caption = "Mean over the seeds; the band goes from the lowest to the highest."
            figure = method_curves(curves, title, label, target if name == "train/kl" else None, log)
            drawn.append((name.replace("/", "_"), title, caption, figure))
        files = []
        for name, title, caption, figure in drawn:
            save(figure, folder / f"{name}.png")
            files.append((title, caption, folder / f"{name}.png"))
        return files


def collect(run_dir: Path) -> dict[str, Any]:
    """What the study keeps of a finished run: final values, learning curves, KL of each dimension."""
    record = read_record(run_dir)
    history = next(
        state["rows"]
        for key, state in read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["callbacks"].items()
        if key.startswith("History")
    )
    metrics = {name: value for name, value in record["metrics"].items() if name.startswith(("test/", "score/"))}
    metrics["beta"] = record["metrics"]["train/beta"]
    metrics["steps"] = record["optimizer_steps"]
    metrics["extra"] = 100 * (record["evolution_extra_compute"] or 0.0)
    return {
        "metrics": metrics,
        "curves": {
            name: {key: history[name][key].tolist() for key in ("steps", "values")}
            for name in CURVES
            if name in history
        },
        "kl_dims": [history[name]["values"][-1].item() for name in sorted(history) if name.startswith("kl/")],
        "wall_seconds": record["wall_seconds"],
        "git_revision": record["git_revision"],
    }


def _difference(arms: Mapping[str, Sequence[dict[str, Any]]], first: str, second: str) -> Interval:
    ours, theirs = ([result["metrics"]["at_target"] for result in arms[arm]] for arm in (first, second))
    return paired_difference(ours, theirs)


def _answer(first: str, second: str, gap: Interval) -> str:
    size = f"{format_number(abs(gap.mean))} nats"
    within = f"95 % interval of the difference {_range(gap)} nats, {gap.seeds} seeds"
    if gap.excludes_zero:
        word = "better" if gap.mean < 0 else "worse"
        return f"{first} is {word} than {second} at equal KL and equal compute, by {size} of distortion ({within})."
    return f"No difference between {first} and {second} at equal KL and equal compute can be told ({within})."


def _verdict(gap: Interval) -> str:
    if not gap.excludes_zero:
        return "cannot be told"
    return "first" if gap.mean < 0 else "second"


def _range(gap: Interval) -> str:
    return f"{format_number(gap.low)} to {format_number(gap.high)}"


def _cell(values: Sequence[float]) -> str:
    if not np.isfinite(values).all():
        return ""
    interval = mean_interval(values)
    if interval.low == interval.high or interval.seeds == 1:
        return format_number(interval.mean)
    return f"{format_number(interval.mean)} \u00b1 {interval.high - interval.mean:.2g}"


def _series(result: dict[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    curve = result["curves"][name]
    return np.array(curve["steps"], dtype=float), np.array(curve["values"])


def _write_csv(path: Path, results: Sequence[dict[str, Any]]) -> None:
    names = sorted({name for result in results for name in result["metrics"]})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "seed", *names, "command"])
        for result in results:
            values = [result["metrics"].get(name, "") for name in names]
            writer.writerow([result["arm"], result["seed"], *values, result["command"]])
