"""``metrics.csv``: what a run has logged, whole at every moment, and gone on with when a run goes on in its folder."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment

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

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the files."""
        if not isinstance(self._experiment, _Writer):
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment


class _Writer(ExperimentWriter):
    """Writes rows in pieces that a kill cannot tear, and all anew when there is another column."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._path = Path(self.metrics_file_path)
        self._rows: list[dict[str, Any]] | None = None  # on the disk; None before the first write

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Record and write hyper-parameters."""
        self.hparams.update(params)
        path = Path(self.log_dir) / self.NAME_HPARAMS_FILE
        replace_file(path, lambda beside: save_hparams_to_yaml(beside, self.hparams))

    def save(self) -> None:
        """Write the rows recorded since the last time."""
        if not self.metrics:
            return
        whole = self._rows is None
        if self._rows is None:
            first = min(row["step"] for row in self.metrics)
            self._rows = [row for row in self._earlier() if int(row["step"]) < first]
            self.metrics_keys = sorted({key for row in self._rows for key in row})
        new_keys = self._record_new_keys()
        self._rows += self.metrics
        if whole or new_keys:
            write_bytes(self._path, self._text(self._rows, header=True))
        else:
            append(self._path, self._text(self.metrics), sync=False)  # a step must not wait for the disk
        self.metrics = []

    def _text(self, rows: list[dict[str, Any]], header: bool = False) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def _earlier(self) -> list[dict[str, Any]]:
        columns, *rows = read_rows(self._path) or [[]]
        earlier = [dict(zip(columns, row, strict=False)) for row in rows]
        return [row for row in earlier if row.get("step", "").isdigit()]

    def _check_log_dir_exists(self) -> None:
        """Nothing is deleted."""
