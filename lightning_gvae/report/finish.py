"""The end of a run for its reader: what ran, which figures and tables there are, and ``report.html``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from lightning_gvae.errors import ConfigError
from lightning_gvae.interfaces import DescribedData, offers
from lightning_gvae.io.files import write_json
from lightning_gvae.lightning_compat import datamodule_of, logger_step
from lightning_gvae.loggers.tables import send_table
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.report.page import FIGURES_INDEX, Table, metric_unit, write_run_report
from lightning_gvae.training.batches import validation_loader

__all__ = ["finish_report", "write_into_run"]


def finish_report(
    trainer: L.Trainer,
    pl_module: L.LightningModule,
    pictures: Sequence[Picture],
    metrics: Mapping[str, float],
    tables: Sequence[Table] = (),
) -> None:
    """List figures that lie in the run folder and tables, send the final numbers, and write the report.

    Raises:
        ConfigError: The run folder cannot be written.
    """
    folder = Path(trainer.default_root_dir)
    index = {
        "run": _facts(trainer, pl_module),
        "figures": [{"title": item.title, "caption": item.caption, "file": item.file} for item in pictures],
        "tables": [table._asdict() for table in tables],
    }
    write_into_run(folder / FIGURES_INDEX, index)
    # A row for each latent dimension would hide the rest; the figures show them.
    metrics = {name: value for name, value in metrics.items() if not name.startswith("kl/")}
    rows = [[name, value, metric_unit(name)] for name, value in sorted(metrics.items())]
    send_table(trainer, "final_metrics", ["metric", "value", "unit"], rows, logger_step(trainer))
    write_run_report(folder, metrics)


def _facts(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Names of model and data, and steps."""
    data, dataset = datamodule_of(trainer), validation_loader(trainer).dataset
    return {
        "model": type(pl_module).__name__,
        "data": data.spec.name if offers(data, DescribedData) else type(dataset).__name__,
        "steps": trainer.global_step,
    }


def write_into_run(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file of the run folder, whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        write_json(path, content, ensure_ascii=False)
    except OSError as error:
        raise ConfigError(f"`default_root_dir` must be a folder that can be written, {path}: {error}.") from error
