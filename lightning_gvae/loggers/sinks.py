"""One way to give figures, images, tables and final values to a logger, whatever its library calls them.

Numbers need no such thing: every Lightning logger has ``log_metrics``.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lightning.pytorch.loggers import CometLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_gvae.plots.images import pixels
from lightning_gvae.plots.pictures import Picture

__all__ = ["Sink", "sink_of"]

Rows = Sequence[Sequence[Any]]


class Sink(Protocol):
    """Sink of figures, tables and texts; each method does nothing where the logger's library has nothing like it."""

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Take a figure, or an animation, that lies in a file."""

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Take single images in [0, 1], ``(N, C, H, W)`` of each kind."""

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Take a table; each column is of one type, or ``None``."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Take final values, numbers or words."""


def sink_of(logger: Logger) -> Sink:
    """The adapter of a logger: of W&B, TensorBoard, MLflow, Comet, or of any other that has methods like theirs."""
    for kind, make in SINKS:
        if isinstance(logger, kind):
            return make(logger)
    return MethodSink(logger)


class WandbSink:
    """Weights & Biases: images, videos, tables and the summary of the run."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Log an image, or a video."""
        if picture.figure is None:
            self.logger.log_video(picture.tag, [str(path)], step, format=["gif"], caption=[picture.caption])
        else:
            self.logger.log_image(picture.tag, [str(path)], step, caption=[picture.caption])

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Log a table of images, one row an image."""
        import wandb

        rows = enumerate(zip(*map(pixels, kinds.values()), strict=False))
        data = [[index, *map(wandb.Image, images)] for index, images in rows]
        self.logger.log_table("images", ["index", *kinds], data, step=step)

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Log a table."""
        self.logger.log_table(key=key, columns=list(columns), data=[list(row) for row in rows], **_at(step))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Add to the summary."""
        self.logger.experiment.summary.update(dict(values))


class TensorBoardSink:
    """TensorBoard: figures, and tables as text."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Log a figure; TensorBoard takes no animations from files."""
        if picture.figure is not None:
            self.logger.experiment.add_figure(picture.tag, picture.figure, step, close=False)

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Log nothing: the figures show the same images."""

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Log a table in Markdown, which TensorBoard shows as one."""
        self.logger.experiment.add_text(key, _markdown(columns, rows), step)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log the values as a table."""
        self.table("summary", ["name", "value"], list(values.items()), None)


class MLflowSink:
    """MLflow: figures, animations and tables as artifacts of the run, the summary as metrics and tags."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.logger = logger

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Log the file."""
        self._client.log_artifact(self._run, str(path), f"figures/step_{step}")

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Log nothing: the figures show the same images."""

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Log a file of comma-separated values, which MLflow shows as a table; a later one of the key replaces it."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([columns, *rows])
        self._client.log_text(self._run, text.getvalue(), f"tables/{key}.csv")

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log numbers as metrics and words as tags."""
        for name, value in values.items():
            if _is_number(value):
                self._client.log_metric(self._run, name, float(value))
            else:
                self._client.set_tag(self._run, name, str(value))

    @property
    def _client(self) -> Any:
        return self.logger.experiment

    @property
    def _run(self) -> str:
        return str(self.logger.run_id)


class CometSink:
    """Comet: images, tables, metrics and other values of the experiment."""

    def __init__(self, logger: CometLogger) -> None:
        self.logger = logger

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Log the file as an image."""
        self._experiment.log_image(image_data=str(path), name=picture.tag, step=step)

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Log nothing: the figures show the same images."""

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Log a table."""
        self._experiment.log_table(f"{key}.csv", tabular_data=[list(row) for row in rows], headers=list(columns))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log numbers as metrics and words as other values."""
        for name, value in values.items():
            log = self._experiment.log_metric if _is_number(value) else self._experiment.log_other
            log(name, value)

    @property
    def _experiment(self) -> Any:
        return self.logger.experiment


class MethodSink:
    """Any other logger: what it has of ``log_image``, ``log_table`` and ``log_summary``, called as W&B's.

    ``log_image(key, images, step)`` with paths of files, ``log_table(key, columns, data, step)``,
    ``log_summary(values)``.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def picture(self, picture: Picture, path: Path, step: int) -> None:
        """Log the path of the file."""
        if (log := self._method("log_image")) is not None:
            log(key=picture.tag, images=[str(path)], step=step)

    def images(self, kinds: Mapping[str, np.ndarray], step: int) -> None:
        """Log nothing: the figures show the same images."""

    def table(self, key: str, columns: Sequence[str], rows: Rows, step: int | None) -> None:
        """Log a table."""
        if (log := self._method("log_table")) is not None:
            log(key=key, columns=list(columns), data=[list(row) for row in rows], **_at(step))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log final values."""
        if (log := self._method("log_summary")) is not None:
            log(dict(values))

    def _method(self, name: str) -> Callable[..., object] | None:
        # Of the class: Lightning's logger for dry runs has every attribute that it is asked for.
        return getattr(self.logger, name) if hasattr(type(self.logger), name) else None


SINKS: tuple[tuple[type[Logger], Callable[[Any], Sink]], ...] = (
    (WandbLogger, WandbSink),
    (TensorBoardLogger, TensorBoardSink),
    (MLFlowLogger, MLflowSink),
    (CometLogger, CometSink),
)


def _at(step: int | None) -> dict[str, int]:
    return {} if step is None else {"step": step}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _markdown(columns: Sequence[str], rows: Rows) -> str:
    def line(cells: Sequence[Any]) -> str:
        texts = ("" if cell is None else str(cell) for cell in cells)
        return f"| {' | '.join(text.replace('|', '&#124;').replace(chr(10), ' ') for text in texts)} |"

    return "\n".join([line(columns), f"|{' --- |' * len(columns)}", *map(line, rows)])
