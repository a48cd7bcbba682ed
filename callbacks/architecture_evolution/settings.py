"""Settings of an architecture search, in the groups that its callback takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from lightning_gvae.errors import checked_choice, checked_count, checked_number
from lightning_gvae.evolution.architecture.candidate_trainers import BACKENDS
from lightning_gvae.evolution.architecture.search import Choice, Members

__all__ = ["CandidateTrainingSettings", "FrontSettings", "ParallelSettings", "SearchFiles"]


@dataclass(frozen=True)
class CandidateTrainingSettings:
    """Training and scoring of a candidate.

    Args:
        epochs: At most so many, at least 1.
        patience: Epochs without a better validation loss after which training stops; None never stops early.
        batch_size: Images a step.
        threads: Of torch on the CPU: results depend on them in the last digits.
        train_images: Images to train on, at most; None for all.
        score_images: Images that the loss is measured on, at most; None for all.
        score_split: Part that gives the loss: ``val``, or ``test`` as in the paper, which reports what it selects on.

    Raises:
        ConfigError: A value is out of its range.
    """

    epochs: int = 5
    patience: int | None = 1
    batch_size: int = 256
    threads: int = 1
    train_images: int | None = None
    score_images: int | None = None
    score_split: Literal["val", "test"] = "val"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads"):
            checked_count(f"training.{name}", getattr(self, name))
        for name in ("patience", "train_images", "score_images"):
            if getattr(self, name) is not None:
                checked_count(f"training.{name}", getattr(self, name))
        checked_choice("training.score_split", self.score_split, ("val", "test"))

    def shortened(self) -> "CandidateTrainingSettings":
        """The same training of one epoch of two batches at most, for a trial of the code."""
        images = min(self.train_images or 2 * self.batch_size, 2 * self.batch_size)
        return replace(self, epochs=1, train_images=images, score_images=min(self.score_images or images, images))


@dataclass(frozen=True)
class FrontSettings:
    """Treatment of the front that a search ends with, and the member that the run trains on.

    Args:
        members: ``archive`` of everything trained, or the last ``population`` as in the paper: where the front is from.
        choose: ``knee``, ``min_loss_under_loc`` or ``index``.
        choose_loc_max: For ``min_loss_under_loc``.
        index: For ``index``, counted from 1 from the strongest compression on.
        pick: Train on this member of a saved front, counted from 1, and do not search; None searches.
        finetune_epochs: Further epochs for every member; 0 for none.
        seeds: Seeds that every member is trained and scored with, at least 1. The first is the search's; from each
            further one members are trained anew, as in the search, and fine-tuned.
        probes: Whether to probe every member with a linear classifier and a small network.

    Raises:
        ConfigError: A value is out of its range.
    """

    members: Members = "archive"
    choose: Choice = "knee"
    choose_loc_max: float | None = None
    index: int = 1
    pick: int | None = None
    finetune_epochs: int = 20
    seeds: int = 1
    probes: bool = True

    def __post_init__(self) -> None:
        checked_choice("front.members", self.members, get_args(Members))
        checked_choice("front.choose", self.choose, get_args(Choice))
        checked_count("front.index", self.index)
        if self.pick is not None:
            checked_count("front.pick", self.pick)
        checked_count("front.finetune_epochs", self.finetune_epochs, least=0)
        checked_count("front.seeds", self.seeds)

    def shortened(self) -> "FrontSettings":
        """One further epoch at most, one seed, no probes, and the knee, which every front has: a trial of the code."""
        return replace(self, choose="knee", finetune_epochs=min(self.finetune_epochs, 1), seeds=1, probes=False)


@dataclass(frozen=True)
class ParallelSettings:
    """Processes that train the candidates; results do not depend on them.

    Args:
        backend: ``local`` (this process), ``pool`` (processes of this machine) or ``ray`` (tasks, also of a cluster).
        workers: Processes or tasks of ``pool`` and ``ray``, at least 1.
        timeout_hours: How long ranks wait for each other, positive.

    Raises:
        ConfigError: A value is out of its range.
    """

    backend: str = "local"
    workers: int = 2
    timeout_hours: float = 24.0

    def __post_init__(self) -> None:
        checked_choice("parallel.backend", self.backend, BACKENDS)
        checked_count("parallel.workers", self.workers, unit="processes")
        checked_number("parallel.timeout_hours", self.timeout_hours, lambda v: v > 0, "must be positive")


@dataclass(frozen=True)
class SearchFiles:
    """Files that a search reads and writes.

    Args:
        journal: Journal of the search; None for ``search/journal.jsonl`` in the run folder.
        shared_journal: Folder of candidates that searches with the same data, settings of training and seed share,
            whatever they propose; None shares nothing. Results are the same either way, to the last bit on one machine.
        cache_dir: Folder of the caches, for the classifier of the objective ``fid``; None keeps nothing.
        front: ``front.json`` for ``front.pick``; None takes the newest below ``front_dir``.
        front_dir: Where fronts are looked for; None for the folder above the run folder.
    """

    journal: str | Path | None = None
    shared_journal: str | Path | None = None
    cache_dir: str | Path | None = None
    front: str | Path | None = None
    front_dir: str | Path | None = None
