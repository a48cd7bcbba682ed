"""Runs the cells of a study, each in a process of its own; finished ones are kept, broken-off ones go on.

A cell is one training run, the command ``train.py`` with its overrides, so that any of them can be repeated by hand.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_gvae.errors import ConfigError, GvaeError, StoppedError
from lightning_gvae.io.content import text_hash
from lightning_gvae.io.files import write_json
from lightning_gvae.io.run_status import read_status
from lightning_gvae.renames import former_overrides
from lightning_gvae.stopping import STOPPED, is_stop, signal_name
from lightning_gvae.studies.children import CHILDREN
from lightning_gvae.studies.executors import Executor, ItemOutcome, ProcessExecutor

__all__ = ["Cell", "CellError", "by_arm", "run_cells"]

RESULT = "cell.json"
LAST = "checkpoints/last.ckpt"
# Nothing may import the command line, but anything may run it. On Linux a run ends with the study that started it, or a
# study that is started again would compete with the runs of the one that was killed.
SCRIPT = """
import ctypes, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
from lightning_gvae.cli.train import main as train_main
train_main()
"""
COMMAND = (sys.executable, "-c", SCRIPT)

Collect = Callable[[Path], dict[str, Any]]


class CellError(GvaeError, RuntimeError):
    """A cell ended without a result; its log says why."""


@dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Args:
        arm: What is compared, for example ``"control_vae"``.
        seed: Seed of the run.
        overrides: What stands behind ``train.py`` on the command line, besides the seed.
    """

    arm: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """Folder of the cell; other overrides make another one."""
        return self._name(self.overrides)

    @property
    def former_name(self) -> str:
        """Folder of the same cell in the last release, which called some settings otherwise."""
        return self._name(former_overrides(self.overrides))

    @property
    def command(self) -> str:
        """Command that repeats the run by hand."""
        return " ".join(["python train.py", *self.overrides, f"seed={self.seed}"])

    def _name(self, overrides: Sequence[str]) -> str:
        digest = text_hash("\0".join(overrides), 4)
        return f"{self.arm}-seed{self.seed}-{digest}"


def run_cells(
    cells: Sequence[Cell], folder: Path, collect: Collect, workers: int = 1, executor: Executor | None = None
) -> dict[Cell, dict[str, Any]]:
    """Run all cells that have no result yet, ``workers`` of them side by side.

    The result of a cell is written as soon as the cell is finished, beside and renamed. A cell that was broken off goes
    on from its last checkpoint, which gives the numbers of an uninterrupted run on the same machine. Folders of the
    last release are taken over.

    Args:
        cells: The cells; no two may share a name.
        folder: Where they are kept.
        collect: Makes the result of a finished cell, something that JSON can hold, from its run folder.
        workers: Processes side by side, at least 1. With more than one each gets one thread.
        executor: Where the processes run; None: on this machine. On Ray each gets one thread.

    Returns:
        The results, in the order of ``cells``.

    Raises:
        ConfigError: ``workers`` is below 1 or two cells share a name.
        CellError: A cell failed. The others are finished first, and a later call runs only what is missing.
        StoppedError: The study, or one of its cells, was told to stop. Cells under way have saved where they are, no
            further one was started, and a later call goes on.
    """
    executor = executor or ProcessExecutor(workers)
    one_thread = not (isinstance(executor, ProcessExecutor) and executor.workers == 1)
    if len({cell.name for cell in cells}) != len(cells):
        raise ConfigError("two cells of the study are the same; arms need different names or overrides")
    folder = folder.resolve()
    for cell in cells:
        if not (folder / cell.name).exists() and (folder / cell.former_name).is_dir():
            (folder / cell.former_name).rename(folder / cell.name)
    missing = [cell for cell in cells if not (folder / cell.name / RESULT).is_file()]
    failures: list[str] = []
    work = partial(_run, folder=folder, collect=collect, command=COMMAND, one_thread=one_thread)
    try:
        with (
            CHILDREN.told_too(),
            tqdm(total=len(cells), initial=len(cells) - len(missing), desc="study", unit="run") as bar,
            _closing(executor.run(work, missing, starts_process=True)) as outcomes,
        ):
            for outcome in outcomes:
                bar.update()
                if outcome.problem:
                    failures.append(outcome.problem.removeprefix(f"{CellError.__name__}: "))
    except BaseException as error:
        if not is_stop(error):
            raise
        done = sum((folder / cell.name / RESULT).is_file() for cell in cells)
        name = signal_name(error)
        raise StoppedError(
            f"the study was told to stop ({name}): {done} of {len(cells)} runs are done, those under way have "
            "saved, and "
            "no further one was started; the same command goes on.",
            name,
        ) from error
    if failures:
        raise CellError(f"{len(failures)} of {len(cells)} runs failed; the first: {failures[0]}")
    return {cell: json.loads((folder / cell.name / RESULT).read_text()) for cell in cells}


@contextmanager
def _closing(outcomes: Iterable[ItemOutcome]) -> Iterator[Iterable[ItemOutcome]]:
    """Scope of an executor's work: what it has under way is waited for here, also after an error."""
    try:
        yield outcomes
    finally:
        if close := getattr(outcomes, "close", None):
            close()


def _run(cell: Cell, folder: Path, collect: Collect, command: Sequence[str], one_thread: bool) -> None:
    CHILDREN.check()
    place = folder / cell.name
    attempts = sorted(place.glob("attempt-*"), key=_number)
    from_checkpoint = next((a / LAST for a in reversed(attempts) if (a / LAST).is_file()), None)
    run_dir = place / f"attempt-{_number(attempts[-1]) + 1 if attempts else 0}"
    if not (attempts and _is_finished(attempts[-1])):
        run_dir.mkdir(parents=True)
        arguments = [*cell.overrides, f"seed={cell.seed}", f"hydra.run.dir='{run_dir}'"]
        if from_checkpoint is not None:
            arguments.append(f"ckpt_path='{from_checkpoint}'")
        threads = {"OMP_NUM_THREADS": "1"} if one_thread else {}
        with (run_dir / "console.log").open("w") as log:
            status = CHILDREN.run([*command, *arguments], log, {**os.environ, **threads})
        if status == STOPPED:
            raise StoppedError(f"{cell.name} was told to stop; see {run_dir / 'console.log'}", "a signal to a run")
        if status:
            raise CellError(f"{cell.name} ended with status {status}; see {run_dir / 'console.log'}")
    else:
        run_dir = attempts[-1]
    result = {"arm": cell.arm, "seed": cell.seed, "command": cell.command, **collect(run_dir)}
    write_json(place / RESULT, result, indent=None)


def _number(attempt: Path) -> int:
    return int(attempt.name.removeprefix("attempt-"))


def _is_finished(run_dir: Path) -> bool:
    return read_status(run_dir) == "finished"


def by_arm(results: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Results of every arm, in the order of the seeds."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        arms.setdefault(result["arm"], []).append(result)
    return {arm: sorted(group, key=lambda result: result["seed"]) for arm, group in arms.items()}
