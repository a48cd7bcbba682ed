"""``metrics.csv``: what a run has logged, whole at every moment, and gone on with when a run goes on in its folder."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_gvae.io.files import replace_file, write_bytes
from lightning_gvae.io.journal import append, read_rows

__all__ = ["CsvLog"]


class CsvLog(CSVLogger):
    """Lightning's ``CSVLogger`` that loses nothing: neither to a kill nor to a run that goes on in the same folder.

    Rows go to the disk as they are logged. A new column makes the file be written beside and renamed; Lightning's own
    empties it first. A file that is there already, as after pre-emption, is gone on with: its rows are kept, apart from
    those of the steps that this run repeats.

    Args:
        save_dir: Folder of ``metrics.csv`` and ``hparams.yaml``.
        flush_logs_every_n_steps: Steps between two writes.
    """

    def __init__(self, save_dir: str | Path, flush_logs_every_n_steps: int = 1) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)
        self._writer: MetricsWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> "MetricsWriter":
        """The writer of the files."""
        if self._writer is None:
            self._writer = MetricsWriter(Path(self.log_dir))
        return self._writer

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; without a row, as in a process that only starts others, nothing."""
        if self._writer is not None:
            self.save()


class MetricsWriter:
    """Writes rows in pieces that a kill cannot tear, and all anew when there is another column.

    It has the methods that ``CSVLogger`` calls on its ``experiment``; Lightning's own writer deletes a file that is
    there.

    Args:
        folder: Folder of ``metrics.csv`` and ``hparams.yaml``, made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics: list[dict[str, Any]] = []  # rows not written yet
        self.hparams: dict[str, Any] = {}
        self._folder, self._path = folder, folder / "metrics.csv"
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] | None = None  # on the disk; None before the first write

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Record and write hyper-parameters."""
        self.hparams.update(params)
        replace_file(self._folder / "hparams.yaml", lambda beside: save_hparams_to_yaml(beside, self.hparams))

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Record a row."""
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.metrics.append({**values, "step": step})

    def save(self) -> None:
        """Write the rows recorded since the last time."""
        if not self.metrics:
            return
        whole = self._rows is None
        if self._rows is None:
            first = min(row["step"] for row in self.metrics)
            self._rows = [row for row in self._earlier() if int(row["step"]) < first]
            self._columns = sorted({name for row in self._rows for name in row})
        columns = sorted({*self._columns, *(name for row in self.metrics for name in row)})
        self._rows += self.metrics
        whole, self._columns = whole or columns != self._columns, columns
        if whole:
            write_bytes(self._path, self._text(self._rows, header=True))
        else:
            append(self._path, self._text(self.metrics), sync=False)  # a step must not wait for the disk
        self.metrics = []

    def _text(self, rows: list[dict[str, Any]], header: bool = False) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self._columns)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def _earlier(self) -> list[dict[str, Any]]:
        columns, *rows = read_rows(self._path) or [[]]
        earlier = [dict(zip(columns, row, strict=False)) for row in rows]
        return [row for row in earlier if row.get("step", "").isdigit()]
