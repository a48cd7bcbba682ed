"""``gvae-inspect`` and ``python -m lightning_gvae.inspect``: a data set before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from lightning_gvae.cli.build import build_data, plain
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.io.files import write_json

if TYPE_CHECKING:  # they import torch, for which a mistake in the configuration need not wait
    from lightning_gvae.datamodules.base import ImageDataModule
    from lightning_gvae.interfaces import HasStatistics

__all__ = ["inspect_data", "main"]


def inspect_data(cfg: DictConfig) -> dict[str, Any]:
    """Show what is in a data set; ``data.json`` and ``images.png`` in the run folder keep it.

    Args:
        cfg: The composed ``inspect`` configuration.

    Returns:
        The figures that ``data.json`` holds.

    Raises:
        GvaeError: The data set cannot be read.
    """
    from lightning_gvae.interfaces import HasStatistics, offers

    datamodule: Any = build_data(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    output_dir, config = Path(cfg.paths.output_dir), plain(cfg.data)
    if offers(datamodule, HasStatistics):
        return _show_text(datamodule, output_dir, config)
    return _show_images(datamodule, output_dir, config)


def _show_images(datamodule: "ImageDataModule", output_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    from lightning_gvae.datamodules.examples import examples
    from lightning_gvae.datamodules.summary import summarise, time_reading
    from lightning_gvae.plots.images import contact_sheet
    from lightning_gvae.plots.style import save

    reading = time_reading(datamodule)
    summary = summarise(datamodule, progress=True)
    figures = summary.as_dict() | {"reading": reading.as_dict(), "config": config}
    save(contact_sheet(examples(datamodule), f"{summary.name}: training images"), output_dir / "images.png")
    _print_rows([*summary.rows(), reading.row()])
    print(f"\nimages:  {output_dir / 'images.png'}")
    return _kept(figures, output_dir)


def _show_text(datamodule: "HasStatistics", output_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Figures of a corpus: a table of its parts, and ``data.json``."""
    from rich.console import Console
    from rich.table import Table

    figures = datamodule.describe()
    parts = {name: part for name, part in figures.items() if isinstance(part, dict)}
    table = Table("part", *next(iter(parts.values())), title=f"{figures['name']}: {figures['vocabulary']:,} tokens")
    for name, part in parts.items():
        table.add_row(name, *(f"{value:.2%}" if isinstance(value, float) else f"{value:,}" for value in part.values()))
    Console(highlight=False, markup=False).print(table)
    return _kept(figures | {"config": config}, output_dir)


def _print_rows(rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in rows:
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _kept(figures: dict[str, Any], output_dir: Path) -> dict[str, Any]:
    write_json(output_dir / "data.json", figures, ensure_ascii=False)
    print(f"figures: {output_dir / 'data.json'}")
    return figures


@hydra.main(version_base="1.3", config_path=CONF, config_name="inspect")
def _composed(cfg: DictConfig) -> dict[str, Any]:
    return inspect_data(cfg)


def main() -> None:
    """Entry point of ``python -m lightning_gvae.inspect`` and ``gvae-inspect``."""
    run_entry(_composed)
