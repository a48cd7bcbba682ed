"""Summary of a run that ends: numbers, how much data there was, where everything is, and how to go on."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports torch, for which a mistake in the configuration need not wait
    from lightning_gvae.report.run_record import RunRecord

__all__ = ["show_evaluation", "show_multirun_stop", "show_nothing_left", "show_run", "show_stop"]

STAGES = {"train": "training", "val": "validation", "test": "test"}
PARTS = {"train": "to train on", "val": "to validate on", "test": "to test on"}


def show_run(record: "RunRecord") -> None:
    """Print the end of a run of ``train``."""
    if not _speaks(record):
        return
    print()
    show_numbers(record.facts["metrics"])
    if not record.trainer.enable_validation:
        print("There was no validation (trainer.limit_val_batches=0), so there is no best.ckpt.")
    _show_places(record)
    checkpoints = _checkpoints(record)
    if checkpoints:
        best = next((path for path in checkpoints if path.name == "best.ckpt"), checkpoints[-1])
        _show_commands({"evaluate": _command("eval.py", [f"ckpt_path={best}"])})
    last = [path for path in checkpoints if path.name == "last.ckpt"]
    if last and (longer := _longer(record.trainer)):
        _show_commands({"go on": _command("train.py", [*_overrides(longer), f"ckpt_path={last[0]}", longer])})


def show_evaluation(record: "RunRecord") -> None:
    """Print the end of ``eval``."""
    if not _speaks(record):
        return
    print()
    show_numbers(record.facts["metrics"])
    _show_places(record)


def show_stop(record: "RunRecord", error: BaseException) -> None:
    """Print where a run is that was told to stop, and the command that goes on."""
    if not record.trainer.is_global_zero:
        return
    steps, name = record.facts.get("optimizer_steps") or 0, record.facts.get("stopped_by", "a signal")
    at = f"after optimiser step {steps:,}" if steps else "before its first optimiser step"
    print(f"\nStopped: the run was told to stop ({name}) and did so {at}.")
    _show_places(record)
    last = [path for path in _checkpoints(record) if path.name == "last.ckpt"]
    if last:
        _show_commands({"go on": _command("train.py", [*_overrides(), f"ckpt_path={last[0]}"])})
    else:
        print("Nothing had been saved yet; the same command starts anew.")


def show_multirun_stop(job: int, folder: Path) -> None:
    """Say that no further job of a multirun is started, and which command goes on with them.

    Args:
        job: Number of the job that was stopped.
        folder: Of the multirun.
    """
    again = ("ckpt_path=", "hydra.sweep.dir=")
    settings = [text for text in sys.argv[1:] if not text.lstrip("+").startswith(again)]
    print(f"\nThe multirun ends with this job, number {job}: no further one is started.")
    _show_commands({"go on": _command("train.py", [*settings, f"hydra.sweep.dir={folder}", "ckpt_path=auto"])})


def show_nothing_left(trainer: Any, wanted: Mapping[str, Any], checkpoint: str | None) -> None:
    """Say that a run trained no step, and which setting decides that.

    Args:
        trainer: After its fit.
        wanted: The section ``trainer`` of the run's configuration.
        checkpoint: What the run went on from, if anything.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:
        return
    steps, epochs = wanted.get("max_steps", -1), wanted.get("max_epochs", -1)
    if wanted.get("limit_train_batches") == 0:
        reason, more = "trainer.limit_train_batches=0", "trainer.limit_train_batches=... above 0 trains"
    elif steps not in (None, -1) and trainer.global_step >= steps:
        reason, more = f"trainer.max_steps={steps}", "trainer.max_steps=... above that goes on"
    elif epochs not in (None, -1):
        reason, more = f"trainer.max_epochs={epochs}", "trainer.max_epochs=... above that goes on"
    elif wanted.get("max_time") is not None:
        reason, more = f"trainer.max_time={wanted['max_time']}", "trainer.max_time=... with more time goes on"
    else:
        reason, more = "a callback has stopped the run", "leave it out to go on"
    where = f"{checkpoint} is at optimiser step {trainer.global_step:,}" if checkpoint else "the run is at its start"
    print(f"\nNothing was left to train: {where}, and {reason}; {more}.")


def show_numbers(metrics: Mapping[str, float]) -> None:
    """Print metrics as a small table, one row a quantity; the numbers are those of the report."""
    from rich.console import Console
    from rich.table import Table

    from lightning_gvae.report.page import format_number, metric_unit

    if not metrics:
        return
    stages = [stage for stage in STAGES if any(name.startswith(f"{stage}/") for name in metrics)]
    names = {name.partition("/")[2]: None for name in sorted(metrics) if name.partition("/")[0] in stages}
    others = [name for name in sorted(metrics) if name.partition("/")[0] not in stages]
    console = Console(highlight=False, markup=False)
    if names:
        table = Table("", *(STAGES[stage] for stage in stages), "unit", box=None, header_style="", pad_edge=False)
        for column in table.columns[1:-1]:
            column.justify = "right"
        for name in names:
            cells = [f"{stage}/{name}" for stage in stages]
            shown = [format_number(metrics[cell]) if cell in metrics else "" for cell in cells]
            table.add_row(name, *shown, metric_unit(f"val/{name}"))
        console.print(table)
    if others:
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(overflow="fold")
        table.add_column(justify="right")
        for name in others:
            table.add_row(name, format_number(metrics[name]), metric_unit(name))
        console.print(table)


def _show_places(record: "RunRecord") -> None:
    print()
    if sizes := record.facts.get("examples"):
        print(f"data:       {', '.join(f'{sizes[part]:,} {PARTS[part]}' for part in PARTS if part in sizes)}")
    print(f"run folder: {record.folder}")
    for path in _checkpoints(record):
        print(f"checkpoint: {path}")
    if record.report is not None:
        print(f"report:     {record.report}")
    for name, reason in record.facts.get("loggers_left_out", {}).items():
        print(f"left out:   the logger {name}, which failed in {reason}")


def _show_commands(commands: Mapping[str, str]) -> None:
    for what, command in commands.items():
        print(f"{what + ':':<11} {command}")


def _speaks(record: "RunRecord") -> bool:
    return bool(record.trainer.is_global_zero) and not record.trainer.fast_dev_run  # type: ignore[attr-defined]


def _checkpoints(record: "RunRecord") -> list[Path]:
    return sorted((record.folder / "checkpoints").glob("*.ckpt"))


def _longer(trainer: Any) -> str:
    """Setting that lets the run go on for as long again; empty if none is known."""
    if trainer.max_steps != -1:
        return f"trainer.max_steps={2 * trainer.global_step}" if trainer.global_step else ""
    if trainer.max_epochs not in (None, -1):
        return f"trainer.max_epochs={2 * trainer.current_epoch}" if trainer.current_epoch else ""
    return ""


def _overrides(replaced: str = "") -> list[str]:
    """Settings of this run as they were given, without those that the command replaces."""
    names = {"ckpt_path", replaced.partition("=")[0]}
    return [text for text in _given() if text.lstrip("+~").partition("=")[0] not in names]


def _given() -> list[str]:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if not HydraConfig.initialized():
        return []
    # Not resolved: what was typed may hold an interpolation.
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [str(text) for text in given or ()]


def _command(script: str, settings: Sequence[str]) -> str:
    """The command as it is typed: with the script, or with the installed program where that was used."""
    program = Path(sys.argv[0]).name
    start = f"gvae-{script.removesuffix('.py')}" if program.startswith("gvae-") else f"python {script}"
    return " ".join([start, *map(shlex.quote, settings)])
