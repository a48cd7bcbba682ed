"""Do diversity weights make the samples of a generator more diverse, and what does it cost?

An unbalanced training set, the same model with and without weights of several strengths, several seeds. Samples are
scored by their Vendi score and class entropy (diversity), by their FID to the balanced test set, and by their FID to
the training set as it is: weights leave that distribution on purpose, so the latter is the price.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.io.files import write_text
from lightning_gvae.plots.style import save
from lightning_gvae.plots.tradeoff import tradeoff
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import of_record, write_provenance
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, by_arm, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.intervals import Interval, paired_difference
from lightning_gvae.studies.tables import mean_text, range_text, write_results

__all__ = ["DiversityWeightsStudy", "collect"]

PLAIN = "no_weights"
COLUMNS = {
    "vendi": "Vendi score of samples",
    "class_entropy": "class entropy (nats)",
    "class_coverage": "classes covered",
    "fid": "FID to the balanced test set",
    "fid_train": "FID to the training set",
    "real_vendi": "Vendi score of test images",
    "test/elbo": "ELBO (nats)",
}
COMPARED = ("vendi", "class_entropy", "fid", "fid_train")

Arms = Mapping[str, Sequence[dict[str, Any]]]


class DiversityWeightsStudy:
    """Runs every strength with every seed and writes tables, the trade-off and the answer.

    Args:
        strengths: Strengths b of the weights, in (0, 1]; training without weights is always there.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report) and ``overrides`` of all runs, which choose data, model
            and ``data.class_shares``.
        settings: Further settings of the weights by name, for example ``{"ess": 0.3}``.
        sampler: Sampler of the scored images.
        name: Name of the study.

    Raises:
        ConfigError: There is no strength or no seed, or one is out of range.
    """

    def __init__(
        self,
        strengths: Sequence[float],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        sampler: str = "prior",
        name: str = "diversity_weights",
    ) -> None:
        if not strengths or not seeds:
            raise ConfigError(
                f"the study needs at least one strength and one seed, got {len(strengths)} and {len(seeds)}"
            )
        if wrong := [value for value in strengths if not 0 < value <= 1]:
            raise ConfigError(f"`strengths` must lie in (0, 1], got {wrong[0]!r}; 0 is there in any case")
        self.strengths, self.seeds, self.scale = sorted(strengths), list(seeds), scale
        self.settings, self.sampler, self.name = dict(settings or {}), sampler, name

    def cells(self) -> list[Cell]:
        """All runs, seed by seed."""
        common = (
            *self.scale["overrides"],
            "metrics=[vendi,class_diversity,fid,fid_train]",
            f"evaluation.samplers=[{self.sampler}]",
        )
        arms = {PLAIN: "data.weights=null"}
        for strength in self.strengths:
            chosen = {**self.settings, "strength": strength}
            inside = ",".join(f"{name}:{value}" for name, value in chosen.items())
            arms[_arm(strength)] = f"data.weights={{{inside}}}"
        return [Cell(arm, seed, (*common, weights)) for seed in self.seeds for arm, weights in arms.items()]

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figure to ``folder``.

        Returns:
            Path of the report.
        """
        results = run_cells(self.cells(), folder / "cells", collect, workers, executor)
        return self.report(list(results.values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figure and report of finished runs."""
        folder.mkdir(parents=True, exist_ok=True)
        arms = by_arm(results)
        tables = [self._table(arms), self._differences(arms)]
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        write_results(folder / "results.csv", results)
        write_provenance(folder, self.name, self.scale, self.seeds, results)
        figure = folder / "figures" / "tradeoff.png"
        costs = {COLUMNS[name]: _values(arms, name) for name in ("fid", "fid_train")}
        labels = ("Vendi score of samples", "FID (features of the data's own classifier)")
        title = "Diversity against FID over the strength of the weights"
        save(tradeoff(_values(arms, "vendi"), costs, list(map(_shown, arms)), title, labels), figure)
        facts = {
            "scale": self.scale["about"],
            "runs": len(results),
            "seeds": self.seeds,
            "wall_seconds": sum(result["wall_seconds"] for result in results),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        commands = "\n".join(result["command"] for result in results)
        caption = "Means over the seeds; crosses go from the lowest to the highest seed."
        return write_report(
            folder / "report.html",
            f"Diversity weights on unbalanced data ({self.scale['name']} scale)",
            "\n\n".join(self.answers(arms)),
            {},
            [("Trade-off", caption, figure)],
            commands,
            facts,
            tables,
        )

    def answers(self, arms: Arms) -> list[str]:
        """One sentence a strength: what happens to diversity, and to both FIDs."""
        sentences = []
        for arm in list(arms)[1:]:
            parts = []
            for name, what in (
                ("vendi", "the Vendi score of samples"),
                ("fid", "the FID to the balanced test set"),
                ("fid_train", "the FID to the training set"),
            ):
                gap = _gap(arms, arm, name)
                if gap is None:
                    parts.append(f"leave {what} unknown, for a run has none (its scores.json says why)")
                    continue
                size = f"by {format_number(abs(gap.mean))} (95 % interval of the difference {range_text(gap)})"
                if gap.excludes_zero:
                    parts.append(f"{'raise' if gap.mean > 0 else 'lower'} {what} {size}")
                else:
                    parts.append(f"make no difference to {what} that can be told ({range_text(gap)})")
            sentences.append(
                f"Weights of {_shown(arm)} {', '.join(parts[:-1])} and {parts[-1]}; {len(self.seeds)} seeds."
            )
        return sentences

    def _table(self, arms: Arms) -> Table:
        rows = [
            [
                _shown(arm),
                *(mean_text([result["metrics"].get(name, float("nan")) for result in group]) for name in COLUMNS),
            ]
            for arm, group in arms.items()
        ]
        caption = f"Mean over {len(self.seeds)} seeds and half the width of its 95 % interval."
        return Table("Results", caption, ["weights", *COLUMNS.values()], rows)

    def _differences(self, arms: Arms) -> Table:
        rows = []
        for arm in list(arms)[1:]:
            gaps = [_gap(arms, arm, name) for name in COMPARED]
            rows.append(
                [
                    f"{_shown(arm)} - {_shown(PLAIN)}",
                    *("" if gap is None else f"{format_number(gap.mean)} ({range_text(gap)})" for gap in gaps),
                ]
            )
        caption = "Paired by seed, with 95 % intervals. Diversity is better high, FID low."
        return Table("Differences", caption, ["difference", *(COLUMNS[name] for name in COMPARED)], rows)


def collect(run_dir: Path) -> dict[str, Any]:
    """Values that the study keeps of a finished run; the names of scores lose their sample count and seed."""
    record = read_record(run_dir)
    metrics = {"test/elbo": record["metrics"]["test/elbo"]}
    for name, value in record["metrics"].items():
        if name.startswith("score/") and not name.endswith("_sd"):
            kind = name.split("/")[1]
            metrics[f"real_{kind}" if name.endswith("/real") else kind] = value
    counts = {found[1] for name in record["metrics"] if (found := re.search(r"/n(\d+)-seed", name))}
    return {
        "metrics": metrics,
        "samples": sorted(counts),
        **of_record(record),
    }


def _arm(strength: float) -> str:
    return f"strength_{strength:g}"


def _shown(arm: str) -> str:
    return arm.replace("_", " ")


def _gap(arms: Arms, arm: str, name: str) -> Interval | None:
    """Difference from training without weights; None if the score was left out in a run."""
    ours, theirs = ([result["metrics"].get(name, np.nan) for result in arms[which]] for which in (arm, PLAIN))
    return paired_difference(ours, theirs) if np.isfinite([*ours, *theirs]).all() else None


def _values(arms: Arms, name: str) -> np.ndarray:
    return np.array([[result["metrics"].get(name, np.nan) for result in group] for group in arms.values()])
