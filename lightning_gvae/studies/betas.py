"""Study of the ways to set the KL weight at equal compute, as the first paper asks, done fairly.

Every arm gets the same compute in optimiser steps, evolution's passes counted (``ComputeBudget``), the same data,
network and seeds. Arms that hold the KL are compared by their distortion at exactly the target, ``D + beta (KL -
target)``: on the rate-distortion frontier the slope is ``-beta`` (Alemi et al., Fixing a broken ELBO, 2018), so small
misses of the target are made up for. Runs of several constant weights make a rate-distortion curve a seed, whose
distortion at the target stands beside them under the name ``fixed``.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.io.files import write_text
from lightning_gvae.plots.comparison import end_points
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import of_record, write_provenance
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, by_arm, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.intervals import Interval, paired_difference
from lightning_gvae.studies.learning_curves import (
    Arms,
    Drawn,
    curve_figures,
    latent_curve_figures,
    latent_figures,
    read_curves,
    validations,
)
from lightning_gvae.studies.rate_distortion import FIXED, fixed_at_target, mean_path, plane, points
from lightning_gvae.studies.tables import mean_text, range_text, write_results

__all__ = ["BetasStudy", "collect"]

DATA_DIR = "DATA_DIR"  # in overrides: paths.data_dir of the run, so that commands hold no path of one machine
STAIR = "STAIR"  # in the overrides of an arm: length of a stair of a climbing target, in optimiser steps
ROOM = 1.25  # compute of a run over that of its optimiser steps, at most: what a stair's length leaves to evolution
OVER_TRAINING = (
    ("train/kl", "KL over training", "KL (nats)", False),
    ("train/elbo", "ELBO over training", "ELBO (nats)", False),
    ("train/beta", "KL weight over training", "beta", True),
)
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
        questions: Pairs of arms, the first of which is asked to be better than the second; ``fixed`` stands for the
            curve through the arms of ``sweep``.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report), ``target_kl`` (nats), ``budget`` (optimiser steps),
            ``overrides`` of all arms and, if some arms have settings of their own at this scale, ``arms``: overrides
            by arm.
        name: Name of the study.
        title: Of the report.
        sweep: Arms of constant weights, which make a rate-distortion curve.
        traced: Arms whose validations make a rate-distortion curve each, because their target moves while they train.
        stairs: Of the traced arms' target. ``STAIR`` in an arm's overrides becomes the length of one, so that the last
            ends within the budget of compute, whatever evolution spends.

    Raises:
        ConfigError: There is no arm or no seed, a question names an unknown arm, or the budget is too short for the
            stairs.
    """

    def __init__(
        self,
        arms: Mapping[str, Sequence[str]],
        holding: Sequence[str],
        questions: Sequence[Sequence[str]],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        name: str = "betas",
        title: str = "The KL weight at equal compute",
        sweep: Sequence[str] = (),
        traced: Sequence[str] = (),
        stairs: int | None = None,
    ) -> None:
        if not arms or not seeds:
            raise ConfigError(f"the study needs at least one arm and one seed, got {len(arms)} and {len(seeds)}")
        known = {*arms, FIXED} if sweep else {*arms}
        unknown = {arm for group in [holding, sweep, traced, *questions] for arm in group} - known
        if unknown:
            raise ConfigError(
                f"`questions`, `holding`, `sweep` and `traced` may name {', '.join(arms)}, got "
                f"{', '.join(sorted(unknown))}"
            )
        if free := {arm for pair in questions for arm in pair} - {*holding, FIXED}:
            raise ConfigError(
                f"`questions` compare arms at equal KL, so they must be among `holding` ({', '.join(holding)}), got "
                f"{', '.join(sorted(free))}"
            )
        self.arms, self.holding, self.questions = arms, list(holding), [tuple(pair) for pair in questions]
        self.sweep, self.traced = list(sweep), list(traced)
        self.seeds, self.scale, self.name, self.title = list(seeds), scale, name, title
        self.stairs = None if stairs is None else checked_count("stairs", stairs)
        if stairs is not None and scale["budget"] < (least := math.ceil(ROOM * stairs)):
            raise ConfigError(
                f"`scale.budget` must be at least {least} optimiser steps for {stairs} stairs, got {scale['budget']}"
            )

    @property
    def stair(self) -> int:
        """Length of a stair, in optimiser steps."""
        return int(self.scale["budget"] / ROOM) // (self.stairs or 1)

    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a study that is broken off has whole seeds."""
        common = (
            *self.scale["overrides"],
            f"target_kl={self.scale['target_kl']}",
            f"trainer.max_steps={self.scale['budget']}",
            "+callbacks.compute_budget._target_=lightning_gvae.callbacks.compute_budget.ComputeBudget",
            f"+callbacks.compute_budget.steps={self.scale['budget']}",
        )
        of_scale = self.scale.get("arms") or {}
        # An arm's own settings come last: they replace the scale's.
        own = {arm: (*overrides, *of_scale.get(arm, ())) for arm, overrides in self.arms.items()}
        common = tuple(text.replace(DATA_DIR, "${paths.data_dir}") for text in common)
        if self.stairs is not None:
            own = {arm: tuple(text.replace(STAIR, str(self.stair)) for text in texts) for arm, texts in own.items()}
        return [Cell(arm, seed, (*common, *texts)) for seed in self.seeds for arm, texts in own.items()]

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        cells = self.cells()
        results = run_cells(cells, folder / "cells", collect, workers, executor)
        return self.report(list(results.values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        arms = self._measured(results)
        compared = {**arms, FIXED: fixed_at_target(arms, self.sweep, self.scale["target_kl"])} if self.sweep else arms
        tables = [self._table(compared)] + ([self._questions(compared)] if self.questions else [])
        write_results(folder / "results.csv", results)
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        write_provenance(folder, self.name, self.scale, self.seeds, results)
        figures = self._figures(arms, folder / "figures")
        title, facts, commands = self._about(results)
        return write_report(
            folder / "report.html", title, "\n\n".join(self.answers(compared)), {}, figures, commands, facts, tables
        )

    def _measured(self, results: Sequence[dict[str, Any]]) -> Arms:
        """The runs by arm, those of arms that hold the target with their distortion at exactly the target."""
        for result in results:
            metrics = result["metrics"]
            off = metrics["test/kl"] - self.scale["target_kl"]
            held = result["arm"] in self.holding
            metrics["at_target"] = metrics["test/recon"] + metrics["beta"] * off if held else float("nan")
        return by_arm(results)

    def _about(self, results: Sequence[dict[str, Any]]) -> tuple[str, dict[str, Any], str]:
        """Title, facts and commands of the report."""
        facts = {
            "scale": self.scale["about"],
            "runs": len(results),
            "seeds": self.seeds,
            "budget": f"{self.scale['budget']:,} optimiser steps a run, evolution's passes counted",
            "wall_seconds": sum(result["wall_seconds"] for result in results),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        commands = "\n".join(result["command"] for result in results)
        return f"{self.title} ({self.scale['name']} scale)", facts, commands

    def answers(self, arms: Arms) -> list[str]:
        """One sentence a question, and one for every run whose target did not get to its last stair."""
        asked = [self._answer(first, second, _difference(arms, first, second)) for first, second in self.questions]
        return asked + [
            f"{arm}, seed {run['seed']}, ended on stair {count} of {self.stairs}: its curve is cut short."
            for arm in self.traced
            for run in arms[arm]
            if self.stairs is not None and (count := len(validations(run))) < self.stairs
        ]

    def _answer(self, first: str, second: str, gap: Interval | None) -> str:
        if gap is None:
            target = format_number(self.scale["target_kl"])
            return (
                f"{first} and {second} cannot be compared: the target of {target} nats lies outside the curve "
                f"of {FIXED}."
            )
        size = f"{format_number(abs(gap.mean))} nats"
        within = f"95 % interval of the difference {range_text(gap)} nats, {gap.seeds} seeds"
        if gap.excludes_zero:
            word = "better" if gap.mean < 0 else "worse"
            return f"{first} is {word} than {second} at equal KL and equal compute, by {size} of distortion ({within})."
        return f"No difference between {first} and {second} at equal KL and equal compute can be told ({within})."

    def _table(self, arms: Arms) -> Table:
        scores = sorted({name for group in arms.values() for name in group[0]["metrics"]} - {*COLUMNS, "train/beta"})
        columns = {**COLUMNS, **{name: name for name in scores if name.startswith("score/")}}
        rows = []
        for arm, group in arms.items():
            values = {name: [result["metrics"].get(name, float("nan")) for result in group] for name in columns}
            rows.append([arm, *(mean_text(numbers) for numbers in values.values())])
        caption = (
            f"Mean over {len(self.seeds)} seeds and half the width of its 95 % interval; D and KL on the test set."
        )
        return Table("Results", caption, ["arm", *columns.values()], rows)

    def _questions(self, arms: Arms) -> Table:
        rows = []
        for first, second in self.questions:
            gap = _difference(arms, first, second)
            if gap is not None:
                rows.append([f"{first} - {second}", format_number(gap.mean), range_text(gap), _verdict(gap)])
        caption = "Distortion at exactly the target, paired by seed; below zero the first arm is better."
        return Table("Questions", caption, ["difference", "mean (nats)", "95 % interval", "better"], rows)

    def _figures(self, arms: Arms, folder: Path) -> list[tuple[str, str, Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        target = float(self.scale["target_kl"])
        # A curve of validations is compared with points of the same images.
        part = "val" if self.traced else "test"
        ends = {arm: points(group, part) for arm, group in arms.items()}
        curves = {}
        if self.sweep:
            curves[FIXED] = np.mean([ends[arm] for arm in self.sweep], axis=1)
        for arm in self.traced:
            curves[f"{arm}, one run"] = mean_path(arms[arm])
        images = "validation" if self.traced else "test"
        caption = (
            f"One point a run, {images} images; the curve goes through the means of the constant weights; dashed: the "
            "target."
        )
        drawn: list[Drawn] = [
            ("end_points", "Rate and distortion", caption, end_points(ends, target, curves)),
            *plane(arms, target),
            *latent_figures(arms),
            *latent_curve_figures(arms),
            *curve_figures(arms, target, OVER_TRAINING),
        ]
        files = []
        for name, title, caption, figure in drawn:
            save(figure, folder / f"{name}.png")
            files.append((title, caption, folder / f"{name}.png"))
        return files


def collect(run_dir: Path) -> dict[str, Any]:
    """Values that the study keeps of a finished run: final numbers, learning curves, KL of each dimension."""
    record, kept = read_record(run_dir), read_curves(run_dir)
    metrics = {name: value for name, value in record["metrics"].items() if name.startswith(("test/", "score/"))}
    # What was logged last; a run that is shorter than the loggers' interval has logged nothing.
    metrics["beta"] = record["metrics"].get("train/beta", kept.pop("beta"))
    metrics["steps"] = record["optimizer_steps"]
    metrics["extra"] = 100 * (record["evolution_extra_compute"] or 0.0)
    return {"metrics": metrics, **kept, **of_record(record)}


def _difference(arms: Arms, first: str, second: str) -> Interval | None:
    ours, theirs = ([result["metrics"]["at_target"] for result in arms[arm]] for arm in (first, second))
    if not np.isfinite([*ours, *theirs]).all():
        return None
    return paired_difference(ours, theirs)


def _verdict(gap: Interval) -> str:
    if not gap.excludes_zero:
        return "cannot be told"
    return "first" if gap.mean < 0 else "second"
