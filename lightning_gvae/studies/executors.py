"""Executors of a study's cells: processes of this machine, or tasks of Ray, with the same results."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from lightning_gvae.errors import ConfigError, GvaeError, StoppedError
from lightning_gvae.evolution.ray_tasks import RayTasks

__all__ = ["Executor", "ItemOutcome", "ProcessExecutor", "RayExecutor"]

Item = TypeVar("Item")
ENVIRONMENT = ("GVAE_", "HYDRA_", "MALLOC_", "OMP_", "WANDB_")  # variables that go to workers of Ray, by how they begin


class ItemOutcome(NamedTuple):
    """Outcome of an item.

    Args:
        number: Of the item.
        value: What the work returned; None if it failed.
        problem: Why it failed; empty if it did not.
    """

    number: int
    value: Any
    problem: str = ""


class Executor(Protocol):
    """Does the same work with many items."""

    def run(
        self, work: Callable[[Item], Any], items: Sequence[Item], starts_process: bool = False
    ) -> Iterator[ItemOutcome]:
        """Yields as each item becomes known, in any order.

        Args:
            work: Does one item. An error of this package fails that item alone.
            items: Can be pickled, and the work too.
            starts_process: Whether the work does nothing but start a process and wait for it.
        """
        ...


class ProcessExecutor:
    """Processes of this machine, one thread each; with a single worker this very process does the work.

    If a process is killed, for example because memory ran out, what was under way is done once more, one item at a
    time; the item that has its process killed again has failed.

    Args:
        workers: Items at a time, at least 1.

    Raises:
        ConfigError: ``workers`` is below 1.
    """

    def __init__(self, workers: int = 1) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ConfigError(f"`workers` must be at least 1, got {workers!r}")
        self.workers = workers

    def run(
        self, work: Callable[[Item], Any], items: Sequence[Item], starts_process: bool = False
    ) -> Iterator[ItemOutcome]:
        """Run items, see :meth:`Executor.run`."""
        if self.workers == 1 and not starts_process:
            yield from (ItemOutcome(index, *_attempt(work, item)) for index, item in enumerate(items))
            return
        killed = []
        with futures.ThreadPoolExecutor(self.workers) if starts_process else _pool(self.workers) as pool:
            waiting = {pool.submit(_attempt, work, item): index for index, item in enumerate(items)}
            try:
                for future in futures.as_completed(waiting):
                    if isinstance(future.exception(), BrokenProcessPool):
                        killed.append(waiting[future])
                    else:
                        yield ItemOutcome(waiting[future], *future.result())
            except BaseException:
                _start_no_more(pool)
                raise
        yield from self._again(work, items, sorted(killed))

    @staticmethod
    def _again(work: Callable[[Item], Any], items: Sequence[Item], killed: Sequence[int]) -> Iterator[ItemOutcome]:
        """One after the other, so that each can only lose its own process."""
        pool = None
        try:
            for index in killed:
                pool = pool or _pool(1)
                try:
                    outcome = ItemOutcome(index, *pool.submit(_attempt, work, items[index]).result())
                except BrokenProcessPool:
                    pool.shutdown()
                    pool = None
                    outcome = ItemOutcome(index, None, "its process was killed twice; memory may have run out")
                yield outcome
        finally:
            if pool is not None:
                pool.shutdown()


class RayExecutor:
    """Tasks of Ray, on this machine or on a cluster whose machines share the study's folder and this installation.

    A cell whose worker or machine is lost goes on once more, from its last checkpoint if it has one; the other cells do
    not notice.

    Args:
        workers: Cells at a time, at least 1.
        gpus: GPUs a cell, may be a fraction. With 0 a cell sees none.
        address: Cluster to join; None joins that of ``RAY_ADDRESS``, or starts Ray here.

    Raises:
        ConfigError: As for :class:`~lightning_gvae.evolution.ray_tasks.RayTasks`, from :meth:`run`.
    """

    def __init__(self, workers: int = 1, gpus: float = 0.0, address: str | None = None) -> None:
        ProcessExecutor(workers)
        self.workers, self.gpus, self.address = workers, gpus, address

    def run(
        self, work: Callable[[Item], Any], items: Sequence[Item], starts_process: bool = False
    ) -> Iterator[ItemOutcome]:
        """Run items, see :meth:`Executor.run`."""
        if not items:
            return
        tasks = RayTasks(self.workers, self.address, self.gpus)
        environment = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
        try:
            shared = tasks.share(work)
            for told in tasks.run(_remote, [(shared, item, os.getcwd(), environment) for item in items]):
                value, problem = told.value or (None, told.problem)
                yield ItemOutcome(told.number, value, problem)
        finally:
            tasks.close()


def _remote(work: Callable[[Item], Any], item: Item, folder: str, environment: dict[str, str]) -> tuple[Any, str]:
    """One item in a worker of Ray, which may have been started elsewhere and with another environment."""
    os.environ |= environment
    try:
        os.chdir(folder)
    except OSError as error:
        return None, f"the folder {folder} of the study cannot be entered on {os.uname().nodename} ({error})"
    torch.set_num_threads(1)
    try:
        return _attempt(work, item)
    except StoppedError as error:
        return None, f"{type(error).__name__}: {error}"


def _attempt(work: Callable[[Item], Any], item: Item) -> tuple[Any, str]:
    """Result of the work, or its error as text: not every error can travel between processes.

    Raises:
        StoppedError: Somebody has told it to stop, which is meant for all of the work.
    """
    try:
        return work(item), ""
    except StoppedError:
        raise
    except GvaeError as error:
        return None, f"{type(error).__name__}: {error}"


def _start_no_more(pool: futures.Executor) -> None:
    """Drop what waits; end processes that work on something, whose results are written whole or not at all."""
    pool.shutdown(wait=False, cancel_futures=True)
    if isinstance(pool, futures.ProcessPoolExecutor):
        for process in multiprocessing.active_children():
            process.terminate()


def _pool(workers: int) -> futures.ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return futures.ProcessPoolExecutor(workers, context, initializer=_alone, initargs=(os.getpid(),))


def _alone(parent: int) -> None:
    """One thread, and an end with the study that started this process."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process; the study says what there is to say
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before this was set
            os._exit(1)
