"""Generations of a run for its reader: a figure of the genes and a table, out of the journal."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np

from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.loggers.figures import send_pictures
from lightning_gvae.plots.genes import gene_paths
from lightning_gvae.plots.pictures import Picture
from lightning_gvae.plots.style import save
from lightning_gvae.report.finish import write_into_run
from lightning_gvae.report.page import Table, format_number

__all__ = ["generation_table", "publish_history"]

SHOWN = 40  # rows of the table


def publish_history(
    trainer: L.Trainer, name: str, genes: Sequence[Gene], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write a figure of the genes and a table of the generations into the run, where its report finds them.

    Args:
        trainer: Of the run.
        name: Of the evolution; its files are called after it.
        genes: What evolved. Of ``beta`` alone there is no figure: the run's own figures show it.
        columns: Of the journal.
        rows: Its rows, one a candidate.

    Raises:
        ConfigError: The run folder cannot be written.
    """
    folder, pictures = Path(trainer.default_root_dir), []
    names = [gene.name for gene in genes]
    if rows and names != ["beta"]:
        cells = dict(zip(columns, zip(*rows, strict=True), strict=True))
        figure = gene_paths(
            names,
            np.array(cells["step"], dtype=np.int64),
            np.array([cells[each] for each in names], dtype=np.float64).T,
            np.array(cells["chosen"]) == "1",
            [gene.scale for gene in genes],
        )
        caption = "Every candidate that was looked ahead with, and the values that training went on with."
        pictures.append(Picture("Genes", caption, f"{name}_genes.png", figure))
        save(figure, folder / "figures" / pictures[0].file)
        send_pictures(trainer, folder, pictures)
    tables = [generation_table(columns, rows)] if rows else []
    index = {
        "figures": [{"title": item.title, "caption": item.caption, "file": item.file} for item in pictures],
        "tables": [table._asdict() for table in tables],
    }
    write_into_run(folder / "figures" / f"{name}.index.json", index)


def generation_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Table of the candidate that each generation ended with; of many generations some, the first and the last too."""
    chosen = columns.index("chosen")
    kept = [row for row in rows if row[chosen] == "1"]
    places = np.unique(np.linspace(0, len(kept) - 1, min(len(kept), SHOWN)).round().astype(int))
    shown = [number for number, name in enumerate(columns) if name != "chosen"]
    body = [[_cell(kept[place][number]) for number in shown] for place in places]
    all_of_them = "" if len(places) == len(kept) else f"{len(places)} of {len(kept)} generations. "
    caption = f"{all_of_them}D and R are those of the probe after the look-ahead; evolution.csv has every candidate."
    return Table("Generations", caption, [columns[number] for number in shown], body)


def _cell(text: str) -> str:
    try:
        return format_number(float(text))
    except ValueError:
        return text.replace("_", " ")
