"""Study of the ways to a whole front of distortion and rate at equal compute.

Arms: a grid of beta-VAEs, a population whose members take over from each other, the same with genes that are drawn anew
instead of inherited, eVAE whose target climbs in stairs, and one network for all KL weights (MultiRateVAE). Every arm
has the same budget of gradient passes, counted in optimiser steps of one model, scores included, and keeps no more
points of the front than a grid has runs; ``multi_rate_one_run`` has the steps of a single run of the grid. The front is
measured by the hypervolume of (D, R) on all validation images, to a reference point that is fixed for each data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.population.store import MemberStore, StoredMember
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.io.files import write_text
from lightning_gvae.io.journal import read_rows
from lightning_gvae.plots.comparison import end_points, method_curves
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import of_record, write_provenance
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, by_arm, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.intervals import paired_difference
from lightning_gvae.studies.tables import mean_text, range_text, write_results

__all__ = ["ARMS", "FrontsStudy", "collect"]

ARMS = ("grid", "population", "random_genes", "stairs", "multi_rate", "multi_rate_one_run")
METHODS = {"grid": "none", "population": "evolve", "random_genes": "random"}
LOOKAHEAD = 0.19  # share of training that eVAE's defaults plan for looking ahead, rounded up
OWN = "callbacks.population_evolution"
Results = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class _Data:
    """Facts of a data set that the study needs.

    Args:
        overrides: Of ``train.py``.
        reference: Distortion and rate, nats, that bound the hypervolume.
        stairs: First target, increment and last target of eVAE, nats.
    """

    overrides: Sequence[str]
    reference: tuple[float, float]
    stairs: tuple[float, float, float]


class FrontsStudy:
    """Runs every arm with every seed on every data set and writes tables, figures and the answer; see the module.

    Args:
        arms: Of ``grid``, ``population``, ``random_genes``, ``stairs``, ``multi_rate`` and ``multi_rate_one_run``; the
            first is what the others are compared with.
        data: Data sets by name, each with ``overrides``, ``reference`` (D, R) and ``stairs`` (first, increment, last).
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report), ``members``, ``steps`` (of a member), ``interval``,
            ``warmup`` and ``overrides`` of all runs.
        name: Name of the study.
        title: Of the report.

    Raises:
        ConfigError: There is no arm, data set or seed, or an arm is unknown.
    """

    def __init__(
        self,
        arms: Sequence[str],
        data: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        name: str = "fronts",
        title: str = "Ways to a whole front at equal compute",
    ) -> None:
        if not arms or not data or not seeds or not set(arms) <= set(ARMS):
            raise ConfigError(
                f"the study needs arms of {', '.join(ARMS)}, data sets and seeds, got {list(arms)}, {list(data)} and "
                f"{list(seeds)}"
            )
        self.arms, self.seeds, self.scale = list(arms), list(seeds), scale
        self.data = {key: _Data(v["overrides"], tuple(v["reference"]), tuple(v["stairs"])) for key, v in data.items()}
        self.name, self.title = name, title

    @property
    def budget(self) -> int:
        """Optimiser steps of one model that every arm may spend."""
        return int(self.scale["members"]) * int(self.scale["steps"])

    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a study that is broken off has whole seeds."""
        return [
            Cell(f"{data}-{arm}", seed, self._overrides(data, arm))
            for seed in self.seeds
            for data in self.data
            for arm in self.arms
        ]

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        results = run_cells(self.cells(), folder / "cells", collect, workers, executor)
        return self.report(list(results.values()), folder)

    def report(self, results: Results, folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        kept = [{**result, "metrics": dict(result["metrics"])} for result in results]
        for result in results:
            self._measure(result, self.data[result["arm"].split("-")[0]].reference)
            result["metrics"]["hypervolume"] = result["volumes"][-1]
            result["metrics"]["compute"] = result["compute"][-1]
        arms = by_arm(results)
        tables = [self._table(data, arms) for data in self.data]
        write_results(folder / "results.csv", results)
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        write_provenance(folder, self.name, self.scale, self.seeds, kept)
        facts = {
            "scale": self.scale["about"],
            "runs": len(results),
            "seeds": self.seeds,
            "budget": f"{self.budget:,} optimiser steps of one model a run, scores and look-ahead counted",
            "wall_seconds": sum(result["wall_seconds"] for result in results),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        figures = [figure for data in self.data for figure in self._figures(data, arms, folder / "figures")]
        title = f"{self.title} ({self.scale['name']} scale)"
        commands = "\n".join(result["command"] for result in results)
        answers = "\n\n".join(answer for data in self.data for answer in self.answers(data, arms))
        return write_report(folder / "report.html", title, answers, {}, figures, commands, facts, tables)

    def _measure(self, result: dict[str, Any], reference: Sequence[float]) -> None:
        """Add the fronts over the compute, and their hypervolumes, to a result."""
        store = MemberStore(int(self.scale["members"]))
        result["volumes"], result["fronts"] = [], []
        for moment, points in enumerate(result["points"]):
            for member, point in enumerate(points):
                store.add(StoredMember(member, moment, 0, {}, {}, (point[0], point[1]), {}), reference)
            result["volumes"].append(store.volume(reference))
            result["fronts"].append(store.values)

    def answers(self, data: str, arms: Mapping[str, Results]) -> list[str]:
        """One sentence for each arm but the first."""
        first, *others = self.arms
        sentences = []
        for arm in others:
            ours, theirs = ([run["metrics"]["hypervolume"] for run in arms[f"{data}-{name}"]] for name in (arm, first))
            gap = paired_difference(ours, theirs)
            within = f"95 % interval of the difference {range_text(gap)} nats squared, {gap.seeds} seeds"
            if gap.excludes_zero:
                word = "larger" if gap.mean > 0 else "smaller"
                share = f"{100 * abs(gap.mean) / float(np.mean(theirs)):.2g} %"
                sentences.append(
                    f"{data}: the hypervolume of {arm} is {word} than that of {first} by {share} ({within})."
                )
            else:
                sentences.append(f"{data}: no difference between {arm} and {first} can be told ({within}).")
        return sentences

    def _overrides(self, data: str, arm: str) -> tuple[str, ...]:
        scale = self.scale
        steps = int(scale["steps"]) if arm == "multi_rate_one_run" else self.budget
        common = (
            *scale["overrides"],
            *self.data[data].overrides,
            f"trainer.max_steps={steps}",
            "+callbacks.compute_budget._target_=lightning_gvae.callbacks.compute_budget.ComputeBudget",
            f"+callbacks.compute_budget.steps={steps}",
        )
        if arm.startswith("multi_rate"):
            return (
                *common,
                "model=multi_rate_vae",
                f"callbacks.rate_curve.points={scale['members']}",
                "callbacks.rate_curve.n_images=null",
                f"trainer.val_check_interval={steps}",
            )
        if arm == "stairs":
            start, increment, last = self.data[data].stairs
            count = round((last - start) / increment) + 1
            stair = int(self.budget / (1 + LOOKAHEAD) / count)
            ramp = (
                "{_target_:lightning_gvae.evolution.beta.target_kl.Ramp,"
                f"start:{start:g},increment:{increment:g},period:{stair},maximum:{last:g}}}"
            )
            return (
                *common,
                "model=evae",
                f"callbacks.beta_evolution.search.target={ramp}",
                f"trainer.val_check_interval={stair}",  # at the end of every stair
            )
        return (
            *common,
            "model=vae",
            "callbacks/population_evolution=front",
            f"{OWN}.search.method={METHODS[arm]}",
            f"{OWN}.search.members={scale['members']}",
            f"{OWN}.search.reference=[{','.join(f'{value:g}' for value in self.data[data].reference)}]",
            f"{OWN}.interval={scale['interval']}",
            f"{OWN}.warmup={scale['warmup']}",
            f"{OWN}.probe_size={scale['probe_size']}",
            f"{OWN}.front.test_images=0",
            f"trainer.val_check_interval={scale['steps']}",
        )

    def _table(self, data: str, arms: Mapping[str, Results]) -> Table:
        rows = []
        for arm in self.arms:
            group = arms[f"{data}-{arm}"]
            ends = [run["fronts"][-1] for run in group]
            columns = [
                [run["metrics"]["hypervolume"] for run in group],
                [run["volumes"][len(run["volumes"]) // 2] for run in group],
                [float(len(points)) for points in ends],
                [float((points.sum(1)).min()) for points in ends],
                [run["metrics"]["compute"] for run in group],
                [run["wall_seconds"] for run in group],
            ]
            rows.append([arm, *map(mean_text, columns)])
        reference = ", ".join(map(format_number, self.data[data].reference))
        caption = (
            f"Hypervolume of (D, R), nats squared, to ({reference}) on the validation images; mean over "
            f"{len(self.seeds)} seeds and half the width of its 95 % interval."
        )
        header = [
            *("arm", "hypervolume", "half way", "points", "least D + R (nats)", "compute (steps)", "wall time (s)"),
        ]
        return Table(f"Fronts of {data}", caption, header, rows)

    def _figures(self, data: str, arms: Mapping[str, Results], folder: Path) -> list[tuple[str, str, Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        groups = {arm: arms[f"{data}-{arm}"] for arm in self.arms}
        curves = {
            arm: [(np.array(run["compute"], dtype=float), np.array(run["volumes"])) for run in group]
            for arm, group in groups.items()
        }
        ends = {arm: np.concatenate([_plane(run["fronts"][-1]) for run in group]) for arm, group in groups.items()}
        drawn = [
            (
                f"{data}_hypervolume",
                f"{data}: hypervolume over compute",
                "Mean over the seeds; the band goes from the lowest to the highest.",
                method_curves(curves, f"Hypervolume of (D, R), {data}", "Hypervolume (nats squared)"),
            ),
            (
                f"{data}_fronts",
                f"{data}: fronts at the end",
                "All points of the fronts of all seeds, validation images.",
                end_points(ends),
            ),
        ]
        files = []
        for name, title, caption, figure in drawn:
            save(figure, folder / f"{name}.png")
            files.append((title, caption, folder / f"{name}.png"))
        return files


def collect(run_dir: Path) -> dict[str, Any]:
    """Fronts of a finished run over its compute.

    Args:
        run_dir: Folder of a run of a population, of a network for all KL weights, or of a single model that was
            validated along a front.

    Returns:
        ``compute``, in optimiser steps of one model, and ``points`` (D, R) measured then, one list a time; ``metrics``
        and the circumstances of the run.

    Raises:
        DataError: The run has left neither a journal of a population nor validations.
    """
    record = read_record(run_dir)
    factor = 1.0 + (record["evolution_extra_compute"] or 0.0)
    journal = read_rows(run_dir / "population.csv")
    if journal:
        moments = _of_population(journal)
    elif curve := read_rows(run_dir / "rate_curve.csv"):
        moments = [(record["optimizer_steps"], _of_curve(curve))]
    else:
        moments = _of_validations(run_dir)
    if not moments:
        raise DataError(f"{run_dir} holds neither a population's journal nor validations; remove it and run it again")
    return {
        "metrics": {"steps": record["optimizer_steps"], "extra": 100 * (factor - 1)},
        "compute": [step * factor for step, _ in moments],
        "points": [points for _, points in moments],
        **of_record(record),
    }


def _of_population(journal: Sequence[Sequence[str]]) -> list[tuple[int, list[list[float]]]]:
    """Steps, and the points of all members then."""
    header, *rows = journal
    entries = [dict(zip(header, row, strict=True)) for row in rows]
    found: dict[int, list[list[float]]] = {}
    for entry in entries:
        point = [float(entry["distortion"]), float(entry["rate"])]
        if np.isfinite(point).all():
            found.setdefault(int(entry["step"]), []).append(point)
    return sorted(found.items())


def _of_curve(curve: Sequence[Sequence[str]]) -> list[list[float]]:
    """Points of one network at several KL weights."""
    header, *rows = curve
    entries = [dict(zip(header, row, strict=True)) for row in rows]
    return [[float(entry["recon"]), float(entry["kl"])] for entry in entries]


def _of_validations(run_dir: Path) -> list[tuple[int, list[list[float]]]]:
    """Steps, and the one point of a single model then."""
    callbacks = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["callbacks"]
    history = next(state["rows"] for key, state in callbacks.items() if key.startswith("History"))
    d, r = history["val/recon"], history["val/kl"]
    values = zip(d["steps"].tolist(), d["values"].tolist(), r["values"].tolist(), strict=True)
    return [(int(step) + 1, [[distortion, rate]]) for step, distortion, rate in values]


def _plane(points: np.ndarray) -> np.ndarray:
    """Points as (R, D)."""
    return points[:, ::-1]
