"""VAE, GAN and VAE-GAN with the same networks, measured in the same way, beside what was published.

Every run is scored by the same number of generated images against the test set. Three baselines say what the numbers
mean: the same generator untrained, the mean image of the training set, and real training images, whose score is the
floor that no model can be expected to pass.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_gvae.errors import ConfigError
from lightning_gvae.report.provenance import of_record
from lightning_gvae.report.run_record import read_record
from lightning_gvae.studies.cells import Cell, run_cells
from lightning_gvae.studies.executors import Executor
from lightning_gvae.studies.vaegan.report import MODELS, write_vaegan_report

__all__ = ["METRICS", "VaeganStudy", "collect"]

METRICS = "metrics=[fid,kid,is,precision_recall,class_balance]"
# Beside the cells: the classifier that the scores need is trained once a data set.
CACHE = "evaluation.cache_dir=${paths.output_dir}/../../../cache"
LOSSES = ("discriminator_loss", "generator_loss", "encoder_loss", "llike", "recon", "kl", "elbo", "loss")


class VaeganStudy:
    """Runs every model on every data set with every seed, and writes tables, sheets of samples and the verdicts.

    Args:
        data: Names of data sets with labels, as ``data=`` takes them.
        seeds: Seeds of the runs, at least two for an interval.
        scale: ``name``, ``about`` (a sentence for the report), ``overrides`` of all runs and ``models``, the overrides
            of ``vae``, ``gan`` and ``vae_gan``.
        collapse: Folder in which the collapse studies of the three models lie, for the claim about generations; None or
            a folder without them leaves that claim untested.
        name: Name of the study.

    Raises:
        ConfigError: There is no data set or seed, one is there twice, or ``scale.models`` are not the three models.
    """

    def __init__(
        self,
        data: Sequence[str],
        seeds: Sequence[int],
        scale: Mapping[str, Any],
        collapse: str | Path | None = None,
        name: str = "vaegan",
    ) -> None:
        data = [data] if isinstance(data, str) else list(data)
        for setting, values in (("data", data), ("seeds", list(seeds))):
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"`{setting}` must be at least one, all different, got {values}")
        if set(scale["models"]) != set(MODELS):
            raise ConfigError(
                f"`scale.models` must say how {', '.join(MODELS)} are trained, got "
                f"{', '.join(scale['models']) or 'none'}"
            )
        self.data, self.seeds, self.scale, self.name = data, list(seeds), scale, name
        self.collapse = None if collapse is None else Path(collapse)

    def cells(self) -> list[Cell]:
        """All runs, seed by seed; the untrained generator brings the baselines along."""
        made = []
        for seed in self.seeds:
            for data in self.data:
                common = (f"data={data}", *self.scale["overrides"], METRICS, CACHE)
                untrained = (*common, "model=gan", "trainer.max_steps=0", "test=false")
                samplers = "evaluation.samplers=[prior,mean_image,training_images]"
                made.append(Cell(f"{data}-untrained", seed, (*untrained, samplers)))
                for model in MODELS:
                    overrides = (*common, f"model={model}", *self.scale["models"][model])
                    made.append(Cell(f"{data}-{model}", seed, overrides))
        return made

    def run(self, folder: Path, workers: int = 1, executor: Executor | None = None) -> Path:
        """Run what is missing and write ``report.html``, ``results.csv``, ``tables.md`` and the figures to ``folder``.

        Returns:
            Path of the report.
        """
        results = run_cells(self.cells(), folder / "cells", collect, workers, executor)
        return self.report(list(results.values()), folder)

    def report(self, results: Sequence[dict[str, Any]], folder: Path) -> Path:
        """Write tables, figures and report of finished runs."""
        return write_vaegan_report(results, folder, self.data, self.seeds, self.scale, self.collapse)


def collect(run_dir: Path) -> dict[str, Any]:
    """Values that the study keeps of a finished run: scores, final losses, and the sheets of samples."""
    record = read_record(run_dir)
    wanted = {f"{stage}/{name}" for stage in ("test", "train") for name in LOSSES}
    sheets = sorted((run_dir / "figures").glob("samples_*.png"))
    return {
        "metrics": {
            name: value for name, value in record["metrics"].items() if name in wanted or name.startswith("score/")
        },
        "steps": record["optimizer_steps"],
        "sheets": {
            sheet.stem.removeprefix("samples_"): str(sheet.relative_to(run_dir.parent.parent)) for sheet in sheets
        },
        **of_record(record),
    }
