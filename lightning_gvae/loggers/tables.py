"""Tables for the loggers that take them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from lightning_gvae.interfaces import offers
from lightning_gvae.loggers.guarded import attempt

__all__ = ["send_summary", "send_table", "uniform_columns"]


class LogsTables(Protocol):
    """Logger that takes tables."""

    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        """Log a table."""


def send_table(
    trainer: L.Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None = None
) -> None:
    """Give a table to the loggers with ``log_table``, as that of Weights & Biases.

    Args:
        trainer: The run's Trainer.
        key: Name of the table.
        columns: Names of the columns.
        rows: Cells; an empty text stands for a value that is missing.
        step: Step under which it stands; None: the logger's present one.
    """
    for logger in trainer.loggers:
        if offers(takes_tables := logger, LogsTables):
            attempt(logger, "log_table", partial(_log_table, takes_tables.log_table, key, columns, rows, step))


def send_summary(trainer: L.Trainer, values: Mapping[str, Any]) -> None:
    """Put final values, numbers or words, into the summary of Weights & Biases, if it logs this run."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            update = partial(_update_summary, logger, dict(values))
            attempt(logger, "summary", update)


def uniform_columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The same cells, each column of one type: numbers with ``None`` for an empty text, or texts, or other things.

    W&B takes the type of a column from its first cells and refuses others.

    >>> uniform_columns([[1, 0.5, "a"], [2, "", 3]])
    [[1, 0.5, 'a'], [2, None, '3']]
    """
    columns = [_uniform(column) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _log_table(
    log_table: Callable[..., object], key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None
) -> None:
    at = {} if step is None else {"step": step}
    log_table(key=key, columns=list(columns), data=uniform_columns(rows), **at)


def _update_summary(logger: WandbLogger, values: dict[str, Any]) -> None:
    logger.experiment.summary.update(values)


def _uniform(cells: Sequence[Any]) -> list[Any]:
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) <= 1 or not all(issubclass(kind, Real | str) for kind in kinds):
        return list(cells)  # pictures among others
    filled = [cell for cell in cells if cell is not None and cell != ""]
    if any(isinstance(cell, str) for cell in filled):
        return [None if cell is None else str(cell) for cell in cells]
    convert = float if len({type(cell) for cell in filled}) > 1 else lambda cell: cell
    return [None if cell is None or cell == "" else convert(cell) for cell in cells]
