"""Trainers of the candidates of a generation: in this process, in a pool of processes, on Ray; results are alike.

Every candidate's seed follows from the run's seed and its phenotype, so neither order nor place matters. A candidate
that raises, becomes NaN or runs out of memory is a failed one; the others go on.
"""

import ctypes
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.ray_tasks import RayTasks
from lightning_gvae.rng import stream_key

__all__ = [
    "BACKENDS",
    "CandidateTrainer",
    "LocalTrainer",
    "PoolTrainer",
    "RayTrainer",
    "Report",
    "Result",
    "Status",
    "Work",
    "build_trainer",
    "candidate_seed",
]

Status = Literal["trained", "failed", "outside", "hopeless"]


@dataclass(frozen=True)
class Result:
    """Result of a candidate.

    Args:
        values: Numbers by name; ``loss`` and whatever else was measured.
        status: ``trained``; ``failed``; ``outside`` the declared region, or ``hopeless`` since not even a perfect loss
            would improve the front: these two were not trained.
        note: Why it failed.
        seconds: Wall time.
    """

    values: Mapping[str, float]
    status: Status = "trained"
    note: str = ""
    seconds: float = 0.0


Work = Callable[[Genome, int], Result]
Report = Callable[[int, Result], None]


class CandidateTrainer(Protocol):
    """Trains candidates."""

    def train(self, genomes: Sequence[Genome], seed: int, report: Report | None = None) -> list[Result]:
        """Results in the order of ``genomes``; ``report(index, result)`` is called as each becomes known."""
        ...

    def close(self) -> None:
        """Give processes back."""
        ...


def candidate_seed(seed: int, genome: Genome) -> int:
    """Seed of a candidate: the same wherever and whenever it is trained."""
    return stream_key(seed, f"candidate/{genome.key}") % 2**31


def attempt(work: Work, genome: Genome, seed: int) -> Result:
    """``work``, timed; an exception becomes a failed result."""
    start = time.perf_counter()
    try:
        result = work(genome, candidate_seed(seed, genome))
    except Exception as error:  # noqa: BLE001  (whatever a candidate does, the search goes on)
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        lines = str(error).strip().splitlines()
        result = Result({}, "failed", f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
    return replace(result, seconds=round(time.perf_counter() - start, 3))


class LocalTrainer:
    """One after the other in this process.

    Args:
        work: Trains one candidate.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    def train(self, genomes: Sequence[Genome], seed: int, report: Report | None = None) -> list[Result]:
        """Results in the order of ``genomes``."""
        results = []
        for index, genome in enumerate(genomes):
            results.append(attempt(self.work, genome, seed))
            if report is not None:
                report(index, results[-1])
        return results

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class PoolTrainer:
    """Side by side in processes of this machine, which are started anew ("spawn") and kept.

    If a worker is killed, for example because memory ran out, the candidates that were under way are tried once more,
    one at a time; the one that kills its worker again has failed.

    Args:
        work: Trains one candidate; can be pickled.
        workers: Processes, at least 1.
    """

    def __init__(self, work: Work, workers: int = 2) -> None:
        self.work, self.workers = work, checked_count("workers", workers, unit="processes")
        self._pool: futures.ProcessPoolExecutor | None = None
        self._pool_size = 0

    def train(self, genomes: Sequence[Genome], seed: int, report: Report | None = None) -> list[Result]:
        """Results in the order of ``genomes``."""
        results: dict[int, Result] = {}

        def take(index: int, result: Result) -> None:
            results[index] = result
            if report is not None:
                report(index, result)

        waiting = {self._started(self.workers).submit(_remote, g, seed): i for i, g in enumerate(genomes)}
        for future in futures.as_completed(waiting):
            if not isinstance(future.exception(), BrokenProcessPool):
                take(waiting[future], future.result())
        for index in [i for i in range(len(genomes)) if i not in results]:
            self.close()
            try:
                take(index, self._started(1).submit(_remote, genomes[index], seed).result())
            except BrokenProcessPool:
                self.close()
                take(index, Result({}, "failed", "the process that trained it was killed; memory may have run out"))
        if self._pool is not None and self._pool_size != self.workers:
            self.close()
        return [results[index] for index in range(len(genomes))]

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _started(self, workers: int) -> futures.ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool_size = workers
            self._pool = futures.ProcessPoolExecutor(workers, context, initializer=_install, initargs=(self.work,))
        return self._pool


class RayTrainer:
    """Side by side as tasks of Ray, on this machine or on a cluster.

    If a worker or its machine is lost, its candidate alone is tried once more; the one that loses its worker again has
    failed.

    Args:
        work: Trains one candidate; can be pickled.
        workers: Tasks at a time, at least 1.
        address: Cluster to join; None joins that of ``RAY_ADDRESS``, or starts Ray here.
        gpus: GPUs a candidate, may be a fraction.

    Raises:
        ConfigError: Ray is not installed, or as for :class:`~lightning_gvae.evolution.ray_tasks.RayTasks`.
    """

    def __init__(self, work: Work, workers: int = 2, address: str | None = None, gpus: float = 0.0) -> None:
        self.tasks = RayTasks(workers, address, gpus, ("`parallel.backend` 'ray'", "parallel.backend=pool"))
        # One copy of the data on every node, not one a task.
        self._work = self.tasks.share(work)

    def train(self, genomes: Sequence[Genome], seed: int, report: Report | None = None) -> list[Result]:
        """Results in the order of ``genomes``."""
        results: dict[int, Result] = {}
        for index, value, problem in self.tasks.run(attempt, [(self._work, genome, seed) for genome in genomes]):
            results[index] = Result({}, "failed", problem) if problem else value
            if report is not None:
                report(index, results[index])
        return [results[index] for index in range(len(genomes))]

    def close(self) -> None:
        """Stop Ray if it was started here."""
        self.tasks.close()


BACKENDS = ("local", "pool", "ray")


def build_trainer(kind: str, work: Work, workers: int = 2, **options: Any) -> CandidateTrainer:
    """A trainer of candidates by name.

    Raises:
        ConfigError: The name is unknown, or as for the class.
    """
    if kind == "local":
        return LocalTrainer(work)
    if kind == "pool":
        return PoolTrainer(work, workers)
    if kind == "ray":
        return RayTrainer(work, workers, **options)
    raise ConfigError(f"`parallel.backend` must be one of {', '.join(BACKENDS)}, got {kind!r}")


_WORK: list[Work] = []


def _install(work: Work) -> None:
    if sys.platform == "linux":
        # A search that is killed takes its processes along; they would wait for work for ever.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    _WORK[:] = [work]


def _remote(genome: Genome, seed: int) -> Result:
    return attempt(_WORK[0], genome, seed)
