"""One quality-diversity search on a trained model: box, problem, the search itself, and what it leaves in a folder."""

import json
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.callbacks.latent_search.former import former_archive_key
from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.callbacks.latent_search.model import (
    Decode,
    another_search,
    data_content,
    decoder,
    search_box,
    search_key,
)
from lightning_gvae.callbacks.latent_search.options import LatentOptions
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.archive.history import ArchiveJournal
from lightning_gvae.evolution.archive.result import HISTORY, ArchiveResult
from lightning_gvae.evolution.archive.search import ArchiveSearch
from lightning_gvae.evolution.archive.settings import ArchiveProblem, ArchiveSettings
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.interfaces import DataModule, Network, missing_members
from lightning_gvae.io.files import write_arrays, write_csv
from lightning_gvae.problems.archive_goal import ArchiveGoal
from lightning_gvae.process_group import rank_and_world_size
from lightning_gvae.training.modes import eval_mode

__all__ = ["ArchiveOptions", "Archived", "run_latent_archive"]

Array = np.ndarray[Any, Any]

FOLDER = "latent_archive"
SHORT = 2  # iterations of a trial


@dataclass(frozen=True)
class ArchiveOptions(LatentOptions):
    """Settings of a quality-diversity search, its space aside.

    Args:
        goal: A goal for images, or any object with ``names``, ``ranges``, ``floor`` and ``judge``, see
            :class:`~lightning_gvae.evolution.archive.settings.ArchiveProblem`.
        settings: Of the algorithm.
        constrained: Whether realistic candidates alone lead the search; otherwise all do, and realism is only reported.
        nan: Whether candidates with NaN are an ``"error"``, or counted and dropped (a blank image has no thickness).

    Raises:
        ConfigError: An argument is out of range.
    """

    goal: ArchiveGoal | ArchiveProblem
    settings: ArchiveSettings = field(default_factory=ArchiveSettings)
    constrained: bool = True
    nan: Literal["error", "drop"] = "drop"
    save_every: int | None = field(default=50, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.goal, ArchiveGoal) and (missing := missing_members(self.goal, ArchiveProblem)):
            raise ConfigError(
                f"`goal` must have names, ranges, floor and judge, {type(self.goal).__name__} lacks "
                f"{', '.join(missing)}"
            )

    def shortened(self) -> "ArchiveOptions":
        """The same search of two iterations at most, for a trial of the code."""
        return replace(self, settings=replace(self.settings, iterations=min(self.settings.iterations, SHORT)))


@dataclass(frozen=True)
class Archived:
    """Outcome of a search on a model.

    Args:
        result: Elites, history and counts.
        objective: Words for the objective.
        decode: From latents ``(N, L)`` to what the model makes of them, on the CPU.
    """

    result: ArchiveResult
    objective: str
    decode: Decode


def run_latent_archive(
    model: Network,
    datamodule: DataModule | None,
    options: ArchiveOptions,
    folder: Path,
    forward_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    earlier: Path | None = None,
) -> Archived:
    """Fill an archive from the latent space of a trained model.

    The model is only looked at: evaluation mode, no gradients, all global generators as they were. In a process group
    every rank does the whole search, which needs no word between them, and rank 0 writes. ``folder/latent_archive``
    gets ``archive.npz`` (plain arrays) and ``history.csv``, and while the search runs its state: a search that was
    killed goes on from there and ends, bit for bit, as it would have; one that is finished is read.

    Args:
        model: One that decodes latents, or in ``space="noise"`` noise; for ``bounds="auto"`` and for goals as far as
            they need it one that encodes.
        datamodule: Set up; needed for ``bounds="auto"`` and for goals.
        options: What and how.
        folder: The run folder.
        forward_context: Precision in which to run the model.
        earlier: Run folder that this run continues, if any; its state or result is taken too.

    Raises:
        ConfigError: The model or the data lack what is asked for, or decoder, problem and settings do not fit.
        CheckpointError: A state cannot be read, or cannot be continued here.
    """
    rank, _ = rank_and_world_size()
    decode = decoder(model, options.space, forward_context)

    def decode_still(latents: Tensor) -> Tensor:
        with eval_mode(model), preserved_rng(model.device):
            parts = [decode(part).cpu() for part in latents.float().split(options.chunk_size or 256)]
        return torch.cat(parts)

    goal = options.goal
    with eval_mode(model), preserved_rng(model.device):
        tools = ModelTools(model, datamodule, options.cache_dir, options.seed)
        low, high = search_box(model, tools, options.bounds)
        problem = goal.bind(tools) if isinstance(goal, ArchiveGoal) else goal
        low, high = low.to(model.device), high.to(model.device)
        about = _about(model, datamodule, options)
        search = ArchiveSearch(
            decode,
            problem,
            low,
            high,
            options.settings,
            options.seed,
            options.constrained,
            options.chunk_size,
            options.nan,
            about,
        )
        places = list(dict.fromkeys((path / FOLDER).resolve() for path in (folder, earlier) if path is not None))
        former = former_archive_key(model, datamodule, options) if isinstance(goal, ArchiveGoal) else ""
        result = _finished(places, search.history.facts, former)
        if result is None:
            result = search.run(_saver(options, places[0], rank), _unfinished(places, search.history.facts, former))
    if rank == 0:
        _write(places[0], result, search.history.facts)
    objective = goal.objective if isinstance(goal, ArchiveGoal) else "objective"
    words = objective if isinstance(objective, str) else getattr(objective, "__name__", "objective")
    return Archived(result, words.replace("_", " ").replace("-", "minus "), decode_still)


def _saver(options: ArchiveOptions, folder: Path, rank: int) -> Callable[[ArchiveSearch], None]:
    every, last = options.save_every, options.settings.iterations

    def save(search: ArchiveSearch) -> None:
        if rank == 0 and every is not None and search.generation % every == 0 and 0 < search.generation < last:
            search.history.write(folder / "state.npz")

    return save


def _unfinished(places: Sequence[Path], facts: str, former: str) -> ArchiveJournal | None:
    for folder in places:
        path = folder / "state.npz"
        if not path.is_file():
            continue
        stored = ArchiveJournal(path)
        stored.facts = _renewed(stored.facts, former, facts)
        if stored.facts == facts:
            rank_zero_info(f"The search for an archive goes on after generation {len(stored.told) - 1}.")
            return stored
        rank_zero_info(_told_apart(path, stored.facts))
    return None


def _finished(places: Sequence[Path], facts: str, former: str) -> ArchiveResult | None:
    for folder in places:
        path = folder / "archive.npz"
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = _renewed(str(stored["facts"]), former, facts)
                if found == facts:
                    rank_zero_info("The archive was filled before; it is taken.")
                    return ArchiveResult.from_arrays(stored)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); delete it, and the search starts anew") from error
        rank_zero_info(_told_apart(path, found))
    return None


def _write(folder: Path, result: ArchiveResult, facts: str) -> None:
    columns = [result.history[name].tolist() for name in HISTORY]
    rows = ([number, *row] for number, row in enumerate(zip(*columns, strict=True)))
    try:
        write_arrays(folder / "archive.npz", result.arrays() | {"facts": np.array(facts)})
        write_csv(folder / "history.csv", ["generation", *HISTORY], rows)
        (folder / "state.npz").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"`folder` must be a folder that can be written, {folder}: {error}") from error


def _about(model: Network, datamodule: DataModule | None, options: ArchiveOptions) -> str:
    """Fingerprint of what the outcome depends on besides the search's own facts."""
    parts = {
        "model": model,
        "goal": options.goal,
        "data": data_content(datamodule) if isinstance(options.goal, ArchiveGoal) else None,
        "spec": None if datamodule is None else datamodule.spec,
        "space": options.space,
        "chunk_size": options.chunk_size,
    }
    return search_key("search for an archive", parts)


def _renewed(stored: str, former: str, facts: str) -> str:
    """Stored facts, with the present key in the place of the last release's."""
    return stored.replace(json.dumps(former), json.dumps(json.loads(facts)["about"])) if former else stored


def _told_apart(path: Path, facts: str) -> str:
    try:
        about = json.loads(facts)["about"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}); delete it, and the search starts anew") from error
    return another_search(path, str(about))
