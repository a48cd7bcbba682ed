"""Tables for the loggers that take them."""

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import lightning as L

from lightning_gvae.loggers.guarded import attempt
from lightning_gvae.loggers.sinks import sink_of

__all__ = ["send_summary", "send_table", "uniform_columns"]


def send_table(
    trainer: L.Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None = None
) -> None:
    """Give a table to the loggers that take any.

    Args:
        trainer: The run's Trainer.
        key: Name of the table.
        columns: Names of the columns.
        rows: Cells; an empty text stands for a value that is missing.
        step: Step under which it stands; None: the logger's present one.
    """
    for logger in trainer.loggers:
        attempt(logger, "log_table", partial(sink_of(logger).table, key, columns, uniform_columns(rows), step))


def send_summary(trainer: L.Trainer, values: Mapping[str, Any]) -> None:
    """Give final values, numbers or words, to the loggers that take any: to the summary of W&B, for example."""
    for logger in trainer.loggers:
        attempt(logger, "summary", partial(sink_of(logger).summary, values))


def uniform_columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The same cells, each column of one type: numbers with ``None`` for an empty text, or texts, or other things.

    W&B takes the type of a column from its first cells and refuses others.

    >>> uniform_columns([[1, 0.5, "a"], [2, "", 3]])
    [[1, 0.5, 'a'], [2, None, '3']]
    """
    columns = [_uniform(column) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _uniform(cells: Sequence[Any]) -> list[Any]:
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) <= 1 or not all(issubclass(kind, Real | str) for kind in kinds):
        return list(cells)  # pictures among others
    filled = [cell for cell in cells if cell is not None and cell != ""]
    if any(isinstance(cell, str) for cell in filled):
        return [None if cell is None else str(cell) for cell in cells]
    convert = float if len({type(cell) for cell in filled}) > 1 else lambda cell: cell
    return [None if cell is None or cell == "" else convert(cell) for cell in cells]
