"""Expressivity: does search in a learnt latent space give less diverse sets than search in the parameters?

The published study trained a VAE on shapes of 16 parameters and looked for good and different shapes twice, among the
parameters and among the latents, with the same start, budget and niches.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_gvae.errors import ConfigError
from lightning_gvae.report.provenance import write_provenance
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.executors import Executor, ProcessExecutor
from lightning_gvae.studies.expressivity.cells import SETTINGS, Setting, ShapesSettings, cell_file, run_cell
from lightning_gvae.studies.expressivity.report import write_expressivity_report

__all__ = ["ExpressivityStudy"]


class ExpressivityStudy:
    """Runs every setting with every repeat and writes tables, figures and the answer.

    Args:
        settings: Of ``"recombination"``, ``"interpolation"``, ``"extrapolation"``, ``"expansion"``.
        repeats: Repeats, at least 2 for an interval; each has shapes, a network and searches of its own.
        scale: ``name`` and arguments of :class:`~lightning_gvae.studies.expressivity.cells.ShapesSettings`.
        name: Name of the study.

    Raises:
        ConfigError: An unknown setting, too few repeats, or a size out of range.

    References:
        Hagg, Berns, Asteroth, Colton and Bäck, Expressivity of parameterized and data-driven representations in quality
        diversity search, 2021.
    """

    def __init__(
        self,
        settings: Sequence[Setting] = SETTINGS,
        repeats: int = 10,
        scale: Mapping[str, Any] | None = None,
        name: str = "expressivity",
    ) -> None:
        unknown = [setting for setting in settings if setting not in SETTINGS]
        if unknown or not settings:
            raise ConfigError(
                f"`settings` must be among {', '.join(SETTINGS)}, got {', '.join(map(str, unknown)) or '[]'}"
            )
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 2:
            raise ConfigError(f"`repeats` must be at least 2, one gives no interval, got {repeats!r}")
        self.settings: list[Setting] = list(dict.fromkeys(settings))
        self.repeats, self.name, self.scale = repeats, name, dict(scale or {"name": "default"})
        self.shapes = ShapesSettings(**{key: value for key, value in self.scale.items() if key != "name"})

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Compute what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and figures to ``folder``.

        A cell, a setting and a repeat, is kept in files of its own as soon as it is finished.

        Returns:
            Path of the report.

        Raises:
            ConfigError: ``workers`` is below 1.
            CellError: A cell failed; the others are finished first, and a later call computes only what is missing.
        """
        executor = executor or ProcessExecutor(workers)
        cells = [(setting, repeat) for repeat in range(self.repeats) for setting in self.settings]
        files = [cell_file(folder, *cell, self.shapes) for cell in cells]
        missing = [cell for cell, file in zip(cells, files, strict=True) if not file.is_file()]
        self._compute(missing, len(cells), folder, executor)
        results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        pictures = [file.with_suffix(".npz") for (_, repeat), file in zip(cells, files, strict=True) if repeat == 0]
        return self.report(results, folder, pictures)

    def report(self, results: Sequence[dict[str, Any]], folder: Path, pictures: Sequence[Path] = ()) -> Path:
        """Write tables, figures and report of finished cells.

        Args:
            results: The cells.
            folder: Where to.
            pictures: Files of elites of one repeat, one a setting.
        """
        facts = {"scale": self.scale.get("name", "custom"), "repeats": self.repeats, **self.scale}
        report = write_expressivity_report(results, folder, {**facts, "name": None}, pictures, self.shapes.size)
        made = [{**cell.get("circumstances", {}), "wall_seconds": cell["seconds"]} for cell in results]
        write_provenance(folder, self.name, self.scale, range(self.repeats), made, results)
        return report

    def _compute(self, missing: Sequence[tuple[Setting, int]], total: int, folder: Path, executor: Executor) -> None:
        failures: list[str] = []
        every = 0 if sys.stderr.isatty() else 10
        work = partial(_run, shapes=self.shapes, folder=folder)
        with tqdm(total=total, initial=total - len(missing), desc="study", unit="cell", mininterval=every) as bar:
            for outcome in executor.run(work, missing):
                bar.update()
                if outcome.problem:
                    setting, repeat = missing[outcome.number]
                    failures.append(f"{setting}, repeat {repeat}: {outcome.problem}")
        if failures:
            raise CellError(f"{len(failures)} of {len(missing)} cells failed; the first: {failures[0]}")


def _run(cell: tuple[Setting, int], shapes: ShapesSettings, folder: Path) -> None:
    run_cell(*cell, shapes, folder)
