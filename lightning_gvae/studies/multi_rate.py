"""One network for every KL weight beside a network for each, at equal compute in all and at equal compute each.

A multi-rate network is trained once. Beside it stand separate networks, one a KL weight, trained for as many steps
each (``separate``), and for as many steps all together (``shared``). All are measured on the same validation images by
what each was trained for, ``D + beta R``.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.checkpoint import read_checkpoint
from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.plots.rate_curve import rate_curves
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import of_record, write_provenance
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.intervals import Interval, paired_difference
from lightning_gvae.studies.tables import mean_text, range_text

__all__ = ["MultiRateStudy", "collect"]

SEPARATE, SHARED = "separate", "shared"
Points = dict[str, np.ndarray]  # by arm: R and D, (seeds, KL weights, 2)


class MultiRateStudy:
    """Runs every variant of the one network and the separate networks with every seed, and writes the answer.

    Args:
        variants: Overrides of ``train.py`` by variant of the one network; the first is the one asked about.
        betas: KL weights that are compared.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence), ``steps`` (of the one network) and ``overrides`` of all.
        name: Name of the study.
        title: Of the report.

    Raises:
        ConfigError: There is no variant, no seed or no KL weight, or a variant has the name of other runs.
    """

    def __init__(
        self,
        variants: Mapping[str, Sequence[str]],
        betas: Sequence[float],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        name: str = "multi_rate",
        title: str = "One network for every KL weight",
    ) -> None:
        if not variants or not seeds or not betas:
            raise ConfigError(
                f"the study needs a variant, a seed and a KL weight, got {len(variants)}, {len(seeds)} and {len(betas)}"
            )
        if taken := {SEPARATE, SHARED} & set(variants):
            raise ConfigError(f"`variants` must not be called {', '.join(sorted(taken))}, as the separate runs are")
        self.variants, self.betas, self.seeds = variants, sorted(map(float, betas)), list(seeds)
        self.scale, self.name, self.title = scale, name, title

    def cells(self) -> list[Cell]:
        """All runs, seed by seed, so that a study that is broken off has whole seeds."""
        steps = int(self.scale["steps"])
        budgets = {SEPARATE: steps, SHARED: steps // len(self.betas)}
        common = tuple(self.scale["overrides"])
        one = (*common, f"trainer.max_steps={steps}", "model=multi_rate_vae")
        weights = ",".join(f"{beta:g}" for beta in self.betas)
        one = (*one, f"callbacks.rate_curve.points=[{weights}]", "callbacks.rate_curve.n_images=null")
        cells = []
        for seed in self.seeds:
            cells += [Cell(name, seed, (*one, *overrides)) for name, overrides in self.variants.items()]
            for kind, budget in budgets.items():
                for beta in self.betas:
                    overrides = (*common, f"trainer.max_steps={budget}", "model=vae", f"model.beta={beta:g}")
                    cells.append(Cell(_arm(kind, beta), seed, overrides))
        return cells

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figure to ``folder``.

        Returns:
            Path of the report.
        """
        return self.report(list(run_cells(self.cells(), folder / "cells", collect, workers, executor).values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figure and report of finished runs."""
        points = self.points(results)
        tables = [self._losses(points), self._differences(points), self._costs(results)]
        rows = [
            [result["arm"], result["seed"], result["steps"], *point, result["wall_seconds"], result["command"]]
            for result in results
            for point in result["points"]
        ]
        columns = ["arm", "seed", "steps", "beta", "kl", "recon", "wall_seconds", "command"]
        write_csv(folder / "results.csv", columns, rows)
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        write_provenance(folder, self.name, self.scale, self.seeds, results)
        figure = rate_curves(
            {_title(name): points[name] for name in (next(iter(self.variants)), SEPARATE, SHARED)},
            {_title(name): self.betas for name in points},
            self.title,
        )
        caption = "Validation images; means over the seeds, crosses from the lowest to the highest; KL weights beside."
        picture = folder / "figures" / "rate_curves.png"
        save(figure, picture)
        facts = {
            "scale": self.scale["about"],
            "seeds": self.seeds,
            "runs": len(results),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        commands = "\n".join(result["command"] for result in results)
        files = [("Rate and distortion", caption, picture)]
        answer = "\n\n".join(self.answers(points))
        title = f"{self.title} ({self.scale['name']} scale)"
        return write_report(folder / "report.html", title, answer, {}, files, commands, facts, tables)

    def points(self, results: Sequence[dict[str, Any]]) -> Points:
        """R and D by variant, and of the separate networks under ``separate`` and ``shared``."""
        found = {(run["arm"], run["seed"]): {point[0]: point[1:] for point in run["points"]} for run in results}

        def of(arm: str, seed: int, beta: float) -> list[float]:
            curve = found[arm, seed]
            return curve[min(curve, key=lambda known: abs(known - beta))]

        arms = {name: [name] * len(self.betas) for name in self.variants}
        arms |= {kind: [_arm(kind, beta) for beta in self.betas] for kind in (SEPARATE, SHARED)}
        return {
            name: np.array(
                [[of(arm, seed, beta) for arm, beta in zip(row, self.betas, strict=True)] for seed in self.seeds]
            )
            for name, row in arms.items()
        }

    def excess(self, points: Points, first: str, second: str) -> Interval:
        """Loss of one arm above another's, % of the other's, mean over the KL weights, paired by seed."""
        ours, theirs = (self._loss(points[name]) for name in (first, second))
        return paired_difference((100 * (ours / theirs - 1)).mean(1).tolist(), [0.0] * len(self.seeds))

    def answers(self, points: Points) -> list[str]:
        """Two sentences about the first variant."""
        first, weights = next(iter(self.variants)), len(self.betas)
        said = []
        for other, whose in (
            (SEPARATE, f"{weights} networks of as many steps each"),
            (SHARED, f"{weights} networks of as many steps together"),
        ):
            gap = self.excess(points, first, other)
            word = "above" if gap.mean > 0 else "below"
            said.append(
                f"D + beta KL of one network is {abs(gap.mean):.1f} % {word} that of {whose} (mean over the KL "
                f"weights; 95 % interval {range_text(gap)} %, {gap.seeds} seeds)."
            )
        return said

    def _loss(self, points: np.ndarray) -> np.ndarray:
        return points[:, :, 1] + np.array(self.betas) * points[:, :, 0]

    def _losses(self, points: Points) -> Table:
        losses = {name: self._loss(values) for name, values in points.items()}
        rows = [
            [format_number(beta), *(mean_text(loss[:, index].tolist()) for loss in losses.values())]
            for index, beta in enumerate(self.betas)
        ]
        caption = f"D + beta KL, nats, validation images; mean over {len(self.seeds)} seeds, half its 95 % interval."
        return Table("Loss by KL weight", caption, ["KL weight", *map(_title, losses)], rows)

    def _differences(self, points: Points) -> Table:
        rows = []
        for name in self.variants:
            gaps = [self.excess(points, name, other) for other in (SEPARATE, SHARED)]
            rows.append([name, *(text for gap in gaps for text in (f"{gap.mean:+.2f}", range_text(gap)))])
        header = ["variant", "above separate (%)", "95 % interval", "above shared (%)", "95 % interval "]
        caption = "Loss above that of the separate networks, mean over the KL weights, paired by seed; lower is better."
        return Table("Variants", caption, header, rows)

    def _costs(self, results: Sequence[dict[str, Any]]) -> Table:
        rows = []
        for name in [*self.variants, SEPARATE, SHARED]:
            runs = [run for run in results if run["arm"] == name or run["arm"].startswith(f"{name}_beta_")]
            seeds = len(self.seeds)
            steps = sum(run["steps"] for run in runs) / seeds
            rows.append([_title(name), format_number(len(runs) / seeds), f"{steps:,.0f}"])
        caption = "A seed; what a step costs beside a plain one is measured by benchmarks.multi_rate."
        return Table("Cost of a curve", caption, ["", "runs", "optimiser steps"], rows)


def collect(run_dir: Path) -> dict[str, Any]:
    """Record of a finished run: its points ``(beta, R, D)`` on validation images, steps and time."""
    record, curve = read_record(run_dir), run_dir / "rate_curve.csv"
    if curve.is_file():
        with curve.open(newline="", encoding="utf-8") as file:
            points = [[float(row[name]) for name in ("beta", "kl", "recon")] for row in csv.DictReader(file)]
    else:
        beta = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]["beta"]
        points = [[float(beta), *(float(record["metrics"][name]) for name in ("val/kl", "val/recon"))]]
    return {"points": points, "steps": record["optimizer_steps"], **of_record(record)}


def _arm(kind: str, beta: float) -> str:
    return f"{kind}_beta_{beta:g}"


def _title(name: str) -> str:
    words = {SEPARATE: "a network each, equal steps each", SHARED: "a network each, equal steps in all"}
    return words.get(name, name.replace("_", " "))
