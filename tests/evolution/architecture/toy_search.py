"""A search whose candidates are trained by a formula."""

import os
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lightning_gvae.evolution.architecture.candidate_trainers import LocalTrainer, Result
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.architecture.group import SearchGroup
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.architecture.objectives import objectives_by_name
from lightning_gvae.evolution.architecture.pymoo_evolvers import build_evolver
from lightning_gvae.evolution.architecture.search import ArchitectureSearch, Region
from lightning_gvae.nets.genome_plan import costs
from lightning_gvae.rng import numpy_stream

SPACE = GenomeSpace("moncae_code")
COSTS = partial(costs, image_shape=(1, 28, 28))
SETTINGS = {"epochs": 5, "data": {"name": "toy"}}


@dataclass
class ToyTraining:
    """Loss by a formula with noise from the candidate's seed.

    Args:
        stop_after: Raise KeyboardInterrupt instead of training one more.
        log: File that gets the key of every finished candidate.
        seconds: How long a candidate takes.
    """

    stop_after: int | None = None
    log: str | None = None
    seconds: float = 0.0
    trained: list[str] = field(default_factory=list)

    def __call__(self, genome: Genome, seed: int) -> Result:
        if self.stop_after is not None and len(self.trained) == self.stop_after:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        known = COSTS(genome)
        slow = {"adam": 0.0, "rmsprop": 0.02, "adagrad": 0.3, "adadelta": 0.5}[genome.optimizer]
        noise = 0.01 * float(numpy_stream(seed, "toy").random())
        self.trained.append(genome.key)
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(genome.key + "\n")
        return Result({**known, "loss": 0.05 + 0.3 * 2.0 ** -known["loc"] + slow + noise})


@dataclass(frozen=True)
class Killer:
    key: str

    def __call__(self, genome: Genome, seed: int) -> Result:
        if genome.key == self.key:
            os.kill(os.getpid(), signal.SIGKILL)
        return ToyTraining()(genome, seed)


def killer(key: str) -> Killer:
    return Killer(key)


def search(
    path: Path,
    work,
    algorithm: str = "sms_emoa",
    reference=(4.0, 12.0),
    objectives=("loss", "loc"),
    region: Region | None = None,
    floor: float = 0.0,
    redraw: bool = True,
    group: SearchGroup | None = None,
    trainer=None,
    store=None,
) -> ArchitectureSearch:
    """A search over generations of seven."""
    region = region or Region()
    feasible = (lambda genome: region.holds(COSTS(genome))) if redraw else None
    evolver = build_evolver(algorithm, SPACE, population=7, reference=reference, seed=1, feasible=feasible)
    return ArchitectureSearch(
        evolver,
        trainer or LocalTrainer(work),
        objectives_by_name(objectives),
        COSTS,
        SearchJournal(path, SETTINGS),
        group or SearchGroup(),
        seed=1,
        region=region,
        floor=floor,
        store=store,
    )
