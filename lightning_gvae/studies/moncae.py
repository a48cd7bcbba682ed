"""Evolved convolutional autoencoders: the columns of the paper's Table 1, and algorithms at equal evaluations."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.io.files import write_csv, write_text
from lightning_gvae.plots.comparison import method_curves
from lightning_gvae.plots.style import save
from lightning_gvae.report.page import Table, format_number, write_report
from lightning_gvae.report.provenance import of_record, write_provenance
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, by_arm, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.intervals import Interval, paired_difference
from lightning_gvae.studies.tables import mean_text, range_text

__all__ = ["PAPER", "MoncaeStudy", "collect", "volume_at"]

# Table 1 of the paper: means over 10 runs of the members with a level of compression below the bound.
PAPER: dict[str, dict[str, float]] = {
    "mnist": {
        "bound": 2.5, "test_loss": 0.141, "loc": 1.699, "probe_loss": 0.409, "probe_accuracy": 0.858,
        "search_minutes": 93.23, "finetune_seconds": 1160,
    },
    "fashion_mnist": {
        "bound": 2.5, "test_loss": 0.316, "loc": 1.639, "probe_loss": 0.524, "probe_accuracy": 0.803,
        "search_minutes": 91.19, "finetune_seconds": 889,
    },
    "cifar10": {
        "bound": 3.1, "test_loss": 0.596, "loc": 2.15, "probe_loss": 1.693, "probe_accuracy": 0.402,
        "search_minutes": 123.04, "finetune_seconds": 2752,
    },
}  # fmt: skip
COLUMNS = {
    "test_loss": "rec. loss (nats per pixel)",
    "loc": "LoC",
    "probe_loss": "cl. loss (nats)",
    "probe_accuracy": "cl. accuracy",
    "mlp_probe_loss": "cl. loss (MLP)",
    "mlp_probe_accuracy": "cl. accuracy (MLP)",
    "parameters": "parameters",
    "search_minutes": "search (min)",
    "finetune_seconds": "fine-tuning (s)",
    "members": "members",
}
# The paper's reference point, and one just behind what is of interest: with the former nearly all of the volume is the
# strongest compression's.
REFERENCES = ((4.0, 12.0), (1.0, 5.0))


class MoncaeStudy:
    """Runs every algorithm on every data set with every seed and writes tables, figures and the answer.

    At equal seeds all algorithms begin with the same generation. What a candidate's training gives is a function of its
    genome, the data, the settings and the seed, so algorithms share what they have trained (``shared``): an exact
    saving. Members of the front are trained on and probed for ``main`` only; the comparison needs the search alone.

    Args:
        data: Names of data sets, as ``data=`` takes them.
        algorithms: Names of algorithms; ``random`` is what the others are compared with.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report) and ``overrides`` of all runs.
        main: Algorithm whose members make Table 1.
        name: Name of the study.
        shared: Whether runs with the same data and seed share the candidates that they train.

    Raises:
        ConfigError: There is no data set, algorithm or seed, or ``main`` is none of the algorithms.
    """

    def __init__(
        self,
        data: Sequence[str],
        algorithms: Sequence[str],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        main: str = "sms_emoa",
        name: str = "moncae",
        shared: bool = True,
    ) -> None:
        if not data or not algorithms or not seeds:
            raise ConfigError(
                f"the study needs at least one data set, algorithm and seed, got {len(data)}, {len(algorithms)} and "
                f"{len(seeds)}"
            )
        if main not in algorithms:
            raise ConfigError(f"`main` must be one of {', '.join(algorithms)}, got {main!r}")
        self.data, self.algorithms, self.seeds = list(data), list(algorithms), list(seeds)
        self.scale, self.main, self.name, self.shared = scale, main, name, shared

    def cells(self) -> list[Cell]:
        """All runs, algorithm by algorithm: those that share candidates are seldom under way at the same time."""
        return [
            Cell(f"{data}-{algorithm}", seed, self._overrides(data, algorithm))
            for data in self.data
            for algorithm in self.algorithms
            for seed in self.seeds
        ]

    def _overrides(self, data: str, algorithm: str) -> tuple[str, ...]:
        own = "callbacks.architecture_evolution"
        search_alone = (f"{own}.front.finetune_epochs=0", f"{own}.front.seeds=1", f"{own}.front.probes=false")
        return (
            "experiment=moncae",
            f"data={data}",
            *self.scale["overrides"],
            f"{own}.algorithm={algorithm}",
            *(() if algorithm == self.main else search_alone),
            # Beside the attempts: a run that was broken off goes on with its search.
            "search.journal=${paths.output_dir}/../search/journal.jsonl",
            *((f"{own}.files.shared_journal=${{paths.output_dir}}/../../../shared",) if self.shared else ()),
        )

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        results = run_cells(self.cells(), folder / "cells", collect, workers, executor)
        return self.report(list(results.values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        folder.mkdir(parents=True, exist_ok=True)
        arms = by_arm(results)
        tables = [self._table(arms), *(self._comparison(arms, reference) for reference in REFERENCES)]
        write_text(folder / "tables.md", "\n".join(table.markdown() for table in tables))
        _write_csv(folder / "results.csv", results)
        write_csv(folder / "trained.csv", *_trained_rows(results))
        write_provenance(folder, self.name, self.scale, self.seeds, results)
        facts = {
            "scale": self.scale["about"],
            "runs": len(results),
            "seeds": self.seeds,
            "wall_seconds": sum(result["wall_seconds"] for result in results),
            "device": sorted({str(result.get("device")) for result in results}),
            "git_revision": sorted({str(result["git_revision"]) for result in results}),
        }
        commands = "\n".join(result["command"] for result in results)
        title = f"Evolved convolutional autoencoders ({self.scale['name']} scale)"
        summary = "\n\n".join(self.answers(arms))
        return write_report(
            folder / "report.html", title, summary, {}, self._figures(arms, folder / "figures"), commands, facts, tables
        )

    def answers(self, arms: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
        """One sentence for every data set and algorithm that is compared with ``random``."""
        sentences = []
        for data, algorithm in self._questions():
            for reference in REFERENCES:
                gap, count = _gap(arms, data, algorithm, reference)
                point = f"({', '.join(f'{value:g}' for value in reference)})"
                within = f"95 % interval of the difference {range_text(gap)}, {gap.seeds} seeds"
                what = f"hypervolume to {point} after {count} trained candidates on {data}"
                if gap.excludes_zero:
                    word = "larger" if gap.mean > 0 else "smaller"
                    sentences.append(f"{algorithm} reaches a {word} {what} than random search ({within}).")
                else:
                    sentences.append(
                        f"No difference in {what} between {algorithm} and random search can be told ({within})."
                    )
        return sentences or ["There is no random search to compare with."]

    def _questions(self) -> list[tuple[str, str]]:
        if "random" not in self.algorithms:
            return []
        return [(data, name) for data in self.data for name in self.algorithms if name != "random"]

    def _table(self, arms: Mapping[str, Sequence[dict[str, Any]]]) -> Table:
        rows = []
        for data in self.data:
            known = PAPER.get(data, {"bound": 2.5})
            group = arms[f"{data}-{self.main}"]
            means = [_means(result, known["bound"]) for result in group]
            columns = [[m[name] for m in means if name in m] for name in COLUMNS]
            cells = [mean_text(values) if values else "" for values in columns]
            rows.append([f"{data}, LoC < {known['bound']:g}", *cells])
            if data in PAPER:
                rows.append(["as published", *(format_number(known[n]) if n in known else "" for n in COLUMNS)])
        caption = (
            f"{self.main}; members of the front below the bound, on the test set after fine-tuning: mean over "
            f"{len(self.seeds)} seeds and half the width of its 95 % interval. The classifier is a linear probe "
            "on frozen "
            "codes; the paper does not name its own. Its times are an RTX 3090's."
            + _seeds_text(result for data in self.data for result in arms[f"{data}-{self.main}"])
        )
        return Table("Table 1", caption, ["data", *COLUMNS.values()], rows)

    def _comparison(self, arms: Mapping[str, Sequence[dict[str, Any]]], reference: Sequence[float]) -> Table:
        rows = []
        for data in self.data:
            for algorithm in self.algorithms:
                count = _common(arms, data, algorithm)
                group = [result["trained"] for result in arms[f"{data}-{algorithm}"]]
                row = [
                    f"{data}, {algorithm}",
                    str(count),
                    mean_text([volume_at(t, count, reference) for t in group]),
                    "",
                ]
                if (data, algorithm) in self._questions():
                    gap, _ = _gap(arms, data, algorithm, reference)
                    row[-1] = f"{format_number(gap.mean)} ({range_text(gap)})"
                in_the_end = mean_text([volume_at(trained, len(trained), reference) for trained in group])
                rows.append([*row, mean_text([len(trained) for trained in group]), in_the_end])
        point = ", ".join(f"{value:g}" for value in reference)
        return Table(
            f"Hypervolume to ({point})",
            "After as many trained candidates as all runs of the algorithm and of random search have, and differences "
            "paired by seed, with their 95 % intervals. The last two columns are after equally many proposals: what an "
            "algorithm proposes again is not trained again.",
            ["data, algorithm", "candidates", "hypervolume", "difference from random", "trained in all", "in the end"],
            rows,
        )

    def _figures(self, arms: Mapping[str, Sequence[dict[str, Any]]], folder: Path) -> list[tuple[str, str, Path]]:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = []
        for data in self.data:
            for reference in REFERENCES:
                curves = {
                    algorithm: [_curve(r["trained"], reference) for r in arms[f"{data}-{algorithm}"]]
                    for algorithm in self.algorithms
                }
                point = ", ".join(f"{value:g}" for value in reference)
                figure = method_curves(curves, f"Hypervolume on {data}", f"Hypervolume to ({point})")
                figure.axes[0].set_xlabel("Trained candidates")
                path = folder / f"hypervolume_{data}_{reference[0]:g}.png"
                save(figure, path)
                caption = "Mean over the seeds; the band goes from the lowest to the highest."
                drawn.append((f"Hypervolume on {data}, reference ({point})", caption, path))
        return drawn


def collect(run_dir: Path) -> dict[str, Any]:
    """Values that the study keeps of a finished run: the members of the front, and the order of training."""
    record = read_record(run_dir)
    front = json.loads((run_dir / "front.json").read_text(encoding="utf-8"))
    journal = run_dir.parent / "search" / "journal.jsonl"
    trained: dict[str, list[float]] = {}
    for text in journal.read_text(encoding="utf-8").splitlines()[1:]:
        line = json.loads(text)
        if line["phase"] == "search" and line["status"] == "trained":
            trained.setdefault(line["key"], line["objectives"])
    return {
        "members": [{"key": m["key"], **m["values"]} for m in front["members"]],
        "trained": list(trained.values()),
        "search_seconds": front["search_seconds"],
        "finetune_seconds": front["finetune_seconds"],
        "not_trained": front["not_trained"],
        **of_record(record),
    }


def volume_at(trained: Sequence[Sequence[float]], count: int, reference: Sequence[float]) -> float:
    """Hypervolume of the first ``count`` trained candidates."""
    return hypervolume([row[:2] for row in trained[:count]], reference)


def _curve(trained: Sequence[Sequence[float]], reference: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.arange(1, len(trained) + 1)
    return counts.astype(float), np.array([volume_at(trained, int(count), reference) for count in counts])


def _common(arms: Mapping[str, Sequence[dict[str, Any]]], data: str, algorithm: str) -> int:
    """Candidates that every run of an algorithm has trained, and every one of the random search, if there is any."""
    groups = [arms[f"{data}-{name}"] for name in (algorithm, "random") if f"{data}-{name}" in arms]
    return min(len(result["trained"]) for group in groups for result in group)


def _gap(
    arms: Mapping[str, Sequence[dict[str, Any]]], data: str, algorithm: str, reference: Sequence[float]
) -> tuple[Interval, int]:
    count = _common(arms, data, algorithm)
    ours, theirs = (
        [volume_at(r["trained"], count, reference) for r in arms[f"{data}-{name}"]] for name in (algorithm, "random")
    )
    return paired_difference(ours, theirs), count


def _means(result: Mapping[str, Any], bound: float) -> dict[str, float]:
    """Means over the members below the bound, and what the search took; without members only the latter."""
    inside = [member for member in result["members"] if member["loc"] < bound]
    times = {"search_minutes": result["search_seconds"] / 60, "finetune_seconds": result["finetune_seconds"]}
    # Of members that were trained from several seeds, the mean over the seeds.
    rows = [{name: member.get(f"{name}_mean", member.get(name)) for name in COLUMNS} for member in inside]
    names = [name for name in COLUMNS if rows and all(row[name] is not None for row in rows)]
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return means | times | {"members": float(len(inside))}


def _seeds_text(results: Iterable[Mapping[str, Any]]) -> str:
    seeds = {int(member.get("seeds", 1)) for result in results for member in result["members"]}
    if seeds <= {1}:
        return " Every member was trained once; single trainings differ by about as much as neighbours in a front do."
    return f" Loss and classifiers of every member are means over up to {max(seeds)} trainings from different seeds."


def _write_csv(path: Path, results: Sequence[dict[str, Any]]) -> None:
    names = sorted({name for result in results for member in result["members"] for name in member} - {"key"})
    rows = [
        [result["arm"], result["seed"], member["key"], *(member.get(name, "") for name in names)]
        for result in results
        for member in result["members"]
    ]
    write_csv(path, ["arm", "seed", "genome", *names], rows)


def _trained_rows(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Header and one row a trained candidate, in the order of training: what the hypervolumes follow from."""
    rows = [
        [result["arm"], result["seed"], number, *objectives]
        for result in results
        for number, objectives in enumerate(result["trained"])
    ]
    width = max((len(row) - 3 for row in rows), default=0)
    return ["arm", "seed", "number", *(f"objective_{index}" for index in range(width))], rows
