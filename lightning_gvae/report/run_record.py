"""Record of a run: ``run.json`` and the report."""

import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lightning as L
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.errors import CheckpointError, ConfigError, DataError, GvaeError
from lightning_gvae.io.files import write_json
from lightning_gvae.io.run_status import RECORD, process_facts, run_status
from lightning_gvae.loggers.guarded import failures
from lightning_gvae.report.circumstances import circumstances
from lightning_gvae.report.page import write_run_report
from lightning_gvae.stopping import is_stop, signal_name

__all__ = ["RunRecord", "part_sizes", "read_record"]


def read_record(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder, with what became of the run as its ``status`` (see ``io.run_status``).

    Raises:
        CheckpointError: It is missing or not whole.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no run folder: {RECORD} cannot be read ({error}).") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{folder} is no run folder: {RECORD} holds no JSON object.")
    return record | {"status": run_status(record)}


class RunRecord:
    """Keeps ``run.json`` of a run folder up to date and writes the final report.

    As a context manager it records how the run ended, also when it is stopped or fails: the status (``finished``,
    ``stopped``, ``failed: <why>``, and ``running`` until then), the optimiser steps and the latest metrics.
    :func:`~lightning_gvae.io.run_status.run_status` reads the status, and finds runs that were killed.

    Args:
        folder: The run folder.
        config: Resolved configuration, plain containers.
        trainer: The run's Trainer; its rank 0 writes.
        about: Facts of the run that are known before it starts, such as the names of model and data.
        resumed_from: Checkpoint the run continues or evaluates, if any.
        latest: Latest metrics by name, for a run that does not reach its end.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: L.Trainer,
        about: Mapping[str, Any] | None = None,
        resumed_from: str | None = None,
        latest: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.folder, self.config, self.trainer, self.latest = folder, config, trainer, latest
        self.report: Path | None = None
        self._start = time.monotonic()
        self.facts: dict[str, Any] = {
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "status": "running",
            **(about or {}),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "wall_seconds": None,
            "seed": config.get("seed"),
            "resumed_from": resumed_from,
            "process": process_facts(),
            **circumstances(),
        }

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        if is_stop(error):
            status, self.facts["stopped_by"] = "stopped", signal_name(error)
        else:
            status = f"failed: {type(error).__name__}: {error}"
        try:
            # Other ranks may be anywhere, and some metrics are sums over all of them.
            metrics = dict(self.latest()) if self.trainer.world_size == 1 else {}
            self._end(status, metrics)
        except (GvaeError, OSError) as second:  # the first error is the one to report
            rank_zero_info(f"{self.folder}: the end of the run could not be recorded ({second}).")

    def finish(self, metrics: Mapping[str, float], left_out: Mapping[str, str] | None = None) -> None:
        """Record the end of a run and write its report.

        Args:
            metrics: Final values by name.
            left_out: Scores that could not be computed, with the reasons.
        """
        self.facts["left_out"] = dict(left_out) if left_out else None
        self._end("finished", dict(metrics))

    def _end(self, status: str, metrics: dict[str, float]) -> None:
        self.facts |= {
            "status": status,
            "wall_seconds": round(time.monotonic() - self._start, 1),
            "device": _device(self.trainer),
            "processes": self.trainer.world_size,
            "optimizer_steps": self.trainer.global_step,
            "examples": part_sizes(getattr(self.trainer, "datamodule", None)),
            "evolution_extra_compute": metrics.get("evolution/extra_compute"),
            "metrics": metrics,
        }
        self._write()
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if status == "finished" or self.trainer.global_step > 0:
            config = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
            self.report = write_run_report(self.folder, metrics, config, self.facts)

    def _write(self) -> None:
        if not self.trainer.is_global_zero:
            return
        if left_out := failures(self.trainer.loggers):
            self.facts["loggers_left_out"] = left_out
        write_json(self.folder / RECORD, self.facts)


def part_sizes(datamodule: Any) -> dict[str, int] | None:
    """Number of images, points or sentences in each part of a data module; None before it has been set up."""
    sizes = {}
    for name in ("train", "val", "test"):
        try:
            sizes[name] = len(getattr(datamodule, f"{name}_set"))
        except (AttributeError, TypeError, ConfigError, DataError):  # a corpus may have a test part alone
            continue
    return sizes or None


def _device(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
