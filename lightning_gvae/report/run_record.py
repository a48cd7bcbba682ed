"""Record of a run: ``run.json`` and the report; and the reader of checkpoints."""

import datetime
import json
import pickle
import platform
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lightning as L
import torch
import yaml
from lightning.pytorch.loggers import Logger

from lightning_gvae.errors import CheckpointError, StoppedError
from lightning_gvae.io.files import write_json
from lightning_gvae.loggers.guarded import failures
from lightning_gvae.report.page import write_run_report

__all__ = ["RunRecord", "read_checkpoint", "read_record"]

PACKAGES = ("lightning-gvae", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "hydra-core", "wandb")

# What torch's own reader raises for bytes that make no sense.
DAMAGED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RuntimeError),
    *(TypeError, ValueError, struct.error),
)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Open a checkpoint without executing anything in it.

    Args:
        path: File written by a Trainer.

    Returns:
        The checkpoint's dictionary, on the CPU.

    Raises:
        CheckpointError: The file is missing, truncated, not a checkpoint, or holds more than tensors and plain
            containers.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; `ckpt_path` takes a .ckpt file, or `last` when training.")
    if not zipfile.is_zipfile(path):  # else the reader of old formats takes any bytes for instructions
        raise CheckpointError(f"{path} is damaged or not a checkpoint (it is no archive of tensors).")
    if broken := _broken_part(path):
        raise CheckpointError(
            f"{path} is damaged: {broken} does not have the checksum that it was written with. Take another checkpoint "
            "of the run, or a copy of this one."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {found[1]}" if found else "it is damaged"
        raise CheckpointError(
            f"{path} is not a checkpoint that can be opened safely: {reason}, and only tensors and plain containers "
            "are read; nothing in it was executed."
        ) from error
    except DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({said}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is not a checkpoint of a Trainer: it has no `state_dict`.")
    return checkpoint


def _broken_part(path: Path) -> str | None:
    """First part of an archive whose content is not as it was written; a single flipped bit is enough."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        return f"its table of contents ({str(error) or type(error).__name__})"


def read_record(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder.

    Raises:
        CheckpointError: It is missing or not whole.
    """
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no run folder: run.json cannot be read ({error}).") from error
    return record


class RunRecord:
    """Keeps ``run.json`` of a run folder up to date and writes the final report.

    As a context manager it records how the run ended, also when it fails.

    Args:
        folder: The run folder.
        config: Resolved configuration, plain containers.
        resumed_from: Checkpoint the run continues or evaluates, if any.
        is_writer: Whether this process writes (rank 0).
        loggers: The run's loggers; those that have failed are named in the end.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        resumed_from: str | None = None,
        is_writer: bool = True,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.folder, self.config, self.is_writer, self.loggers = folder, config, is_writer, loggers
        self._start = time.monotonic()
        self.facts: dict[str, Any] = {
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "status": "running",
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "wall_seconds": None,
            "seed": config.get("seed"),
            "resumed_from": resumed_from,
            "git_revision": _git_revision(),
            "versions": _versions(),
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        }

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            failed = f"failed: {kind.__name__ if kind else ''}: {error}"
            self.facts["status"] = "stopped" if isinstance(error, StoppedError) else failed
            self.facts["wall_seconds"] = round(time.monotonic() - self._start, 1)
            self._write()

    def finish(self, trainer: L.Trainer, metrics: dict[str, float], left_out: Mapping[str, str] | None = None) -> None:
        """Record the end of a run, write its report and say where everything is.

        Args:
            trainer: Of the run.
            metrics: Final values by name.
            left_out: Scores that could not be computed, with the reasons.
        """
        self.facts |= {
            "status": "finished",
            "wall_seconds": round(time.monotonic() - self._start, 1),
            "device": _device(trainer),
            "processes": trainer.world_size,
            "optimizer_steps": trainer.global_step,
            "evolution_extra_compute": metrics.get("evolution/extra_compute"),
            "metrics": metrics,
            "left_out": dict(left_out) if left_out else None,
        }
        self._write()
        if not self.is_writer or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        config = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        report = write_run_report(self.folder, metrics, config, self.facts)
        print(f"\nrun folder: {self.folder}")
        for path in sorted((self.folder / "checkpoints").glob("*.ckpt")):
            print(f"checkpoint: {path}")
        print(f"report:     {report}")

    def _write(self) -> None:
        if not self.is_writer:
            return
        if left_out := failures(self.loggers):
            self.facts["loggers_left_out"] = left_out
        write_json(self.folder / "run.json", self.facts)


def _device(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_revision() -> str | None:
    """Revision of the checkout the code lies in; ``None`` outside one."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
