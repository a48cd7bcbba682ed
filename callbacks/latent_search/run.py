"""One latent search on a trained model: bounds, problem, the search itself, and what it leaves in a folder."""

import pickle
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.callbacks.latent_search.former import former_search_key
from lightning_gvae.callbacks.latent_search.image_tools import ModelTools
from lightning_gvae.callbacks.latent_search.model import another_search, data_content, decoder, search_box, search_key
from lightning_gvae.callbacks.latent_search.options import LatentOptions
from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.evolution.latent.search import (
    HISTORY,
    Engine,
    GAGeneration,
    GASettings,
    NanPolicy,
    Problem,
    SearchResult,
    merge,
    search,
)
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.evolution.ranks import from_first_rank, gather_over_ranks
from lightning_gvae.interfaces import DataModule, Network, missing_members
from lightning_gvae.io.files import write_csv, write_torch
from lightning_gvae.problems.images import ImageGoal
from lightning_gvae.process_group import rank_and_world_size
from lightning_gvae.training.modes import eval_mode

__all__ = ["Found", "SearchOptions", "run_latent_search"]

FOLDER = "latent_search"
MOST_FRAMES = 100
SHORT = 2  # runs and generations of a trial


@dataclass(frozen=True)
class SearchOptions(LatentOptions):
    """Settings of a latent search, its space aside.

    Args:
        problem: A goal for images, or any object with ``objective`` and ``violations`` of decoded points.
        runs: Independent runs.
        settings: Of the genetic algorithm.
        engine: ``"torch"``, ``"deap"`` or ``"pymoo"``.
        nan: Whether a NaN of the problem is an ``"error"`` or the ``"worst"``.
        frames: Generations of which the best image of run 0 is shown, 2 to 100.

    Raises:
        ConfigError: An argument is out of range.
    """

    problem: Problem | ImageGoal
    runs: int = 16
    settings: GASettings = field(default_factory=GASettings)
    engine: Engine = "torch"
    nan: NanPolicy = "error"
    frames: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_count("runs", self.runs)
        if checked_count("frames", self.frames, 2) > MOST_FRAMES:
            raise ConfigError(f"`frames` must be at most {MOST_FRAMES}, got {self.frames}")
        if not isinstance(self.problem, ImageGoal) and (missing := missing_members(self.problem, Problem)):
            raise ConfigError(
                f"`problem` must have methods `objective` and `violations`, {type(self.problem).__name__} lacks "
                f"{' and '.join(f'`{name}`' for name in missing)}"
            )

    def shortened(self) -> "SearchOptions":
        """The same search of two runs and two generations at most, for a trial of the code."""
        settings = replace(self.settings, generations=min(self.settings.generations, SHORT))
        return replace(self, runs=min(self.runs, SHORT), settings=settings)


@dataclass(frozen=True)
class Found:
    """Outcome of a search on a model.

    Args:
        result: Of all runs.
        problem: The problem, bound to the model.
        frames: By generation, the decoded best of run 0.
        frame_values: Its objective.
        bounds: Lower and upper ones, ``(2, L)``.
    """

    result: SearchResult
    problem: Problem
    frames: dict[int, Tensor]
    frame_values: dict[int, float]
    bounds: Tensor


def run_latent_search(
    model: Network,
    datamodule: DataModule | None,
    options: SearchOptions,
    folder: Path,
    forward_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    earlier: Path | None = None,
) -> Found:
    """Search the latent space of a trained model; every rank of a process group must call it.

    The model is only looked at: evaluation mode, no gradients, all global generators as they were. The runs are shared
    out over the ranks; every rank returns all of them. ``folder/latent_search`` gets ``result.pt`` (plain tensors) and
    ``history.csv``, and while the search runs its state: a search that was killed goes on from there, and one that is
    finished is read, provided that everything that decides the result is the same: the weights, the problem with all
    that it holds, its data, options and seed.

    Args:
        model: One that decodes latents, or in ``space="noise"`` noise; for ``bounds="auto"`` and for goals as far as
            they need it one that encodes.
        datamodule: Set up; needed for ``bounds="auto"`` and for goals.
        options: What and how.
        folder: The run folder.
        forward_context: Precision in which to run the model.
        earlier: Run folder that this run continues, if any; its state or result is taken too.

    Raises:
        ConfigError: The model or the data lack what is asked for, or the decoder, the problem or the bounds do not fit.
    """
    rank, world = rank_and_world_size()
    with eval_mode(model), preserved_rng(model.device):
        tools = ModelTools(model, datamodule, options.cache_dir, options.seed)
        low, high = from_first_rank(search_box(model, tools, options.bounds))
        key = search_key("latent search", _parts(model, datamodule, options, low, high))
        keys = [key]
        if isinstance(options.problem, ImageGoal):
            keys.append(former_search_key(model, datamodule, options, low, high))
        places = list(dict.fromkeys((path / FOLDER).resolve() for path in (folder, earlier) if path is not None))
        problem = options.problem.bind(tools) if isinstance(options.problem, ImageGoal) else options.problem
        bounds = torch.stack([low, high])
        done = from_first_rank(_stored(places, "result.pt", keys))
        if done is not None:
            rank_zero_info("The latent search was finished before; its result is taken.")
            found = Found(SearchResult.from_tensors(done["result"]), problem, *_frames_of(done), bounds)
            if rank == 0:
                _write(folder / FOLDER, found, key)
            return found

        keeper = _Keeper(places, _state_file(rank, world), keys, options)
        mine = search(
            decoder(model, options.space, forward_context),
            problem,
            low,
            high,
            runs=options.runs,
            settings=options.settings,
            seed=options.seed,
            engine=options.engine,
            chunk_size=options.chunk_size,
            on_generation=keeper if options.engine == "torch" else None,
            state=keeper.state,
            shard=(rank, world),
            nan=options.nan,
        )
        result = merge(gather_over_ranks(_on_cpu(mine)))
        frames, values = from_first_rank((keeper.frames, keeper.values))  # run 0 is rank 0's
        found = Found(result, problem, frames, values, bounds)
        if rank == 0:
            _write(folder / FOLDER, found, key)
    keeper.state_path.unlink(missing_ok=True)
    return found


class _Keeper:
    """Keeps frames of run 0 and, every so often, the state on disk."""

    def __init__(self, places: Sequence[Path], file: str, keys: Sequence[str], options: SearchOptions) -> None:
        self.options, self.key, self.state_path = options, keys[0], places[0] / file
        self.frames: dict[int, Tensor] = {}
        self.values: dict[int, float] = {}
        self._shown = set(_frame_numbers(options.settings.generations, options.frames))
        self.state: Any = None
        stored = _stored(places, file, keys) if options.engine == "torch" else None
        if stored is not None:
            self.state, (self.frames, self.values) = stored["state"], _frames_of(stored)
            rank_zero_info(f"The latent search goes on after generation {self.state['number']}.")

    def __call__(self, generation: GAGeneration) -> None:
        number, every = generation.number, self.options.save_every
        if number in self._shown and len(generation.runs) and generation.runs[0] == 0:
            best = generation.best[0]
            self.frames[number] = generation.scored.decoded[0, best].cpu().clone()
            self.values[number] = float(generation.scored.objective[0, best])
        if every is not None and number and number % every == 0 and number < self.options.settings.generations:
            stored = {"key": self.key, "state": generation.state(), "frames": self.frames, "values": self.values}
            write_torch(self.state_path, stored, only_writer=True)


def _parts(
    model: Network, datamodule: DataModule | None, options: SearchOptions, low: Tensor, high: Tensor
) -> dict[str, Any]:
    """Parts that decide a search's result, by name."""
    goal = options.problem if isinstance(options.problem, ImageGoal) else None
    return {
        "model": model,
        "problem": options.problem,
        "data": data_content(datamodule) if goal is not None and goal.needs else None,
        "spec": None if datamodule is None else datamodule.spec,
        "bounds": [low, high],
        "settings": options.settings,
        **{name: getattr(options, name) for name in ("runs", "engine", "space", "chunk_size", "nan", "frames", "seed")},
    }


def _stored(places: Sequence[Path], file: str, keys: Collection[str]) -> Any:
    """Result or state of an earlier call of the same search, from the first place that has one; None without."""
    for place_ in places:
        path = place_ / file
        if not path.is_file():
            continue
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path} cannot be read ({reason}); delete it, and the search starts anew") from error
        if isinstance(stored, dict) and stored.get("key") in keys:
            return stored
        rank_zero_info(another_search(path, str(stored.get("key")) if isinstance(stored, dict) else ""))
    return None


def _write(folder: Path, found: Found, key: str) -> None:
    stored = {
        "key": key,
        "result": found.result.tensors(),
        "frames": found.frames,
        "values": found.frame_values,
        "bounds": found.bounds,
    }
    try:
        write_torch(folder / "result.pt", stored)
        write_csv(folder / "history.csv", ["run", "generation", *HISTORY], _history_rows(found.result))
    except OSError as error:
        raise ConfigError(f"`folder` must be a folder that can be written, {folder}: {error}") from error


def _history_rows(result: SearchResult) -> Iterator[list[float]]:
    columns = [result.history[name].numpy() for name in HISTORY]
    for position, run in enumerate(result.runs.tolist()):
        for generation in range(int(result.generations[position]) + 1):
            yield [run, generation, *(float(column[generation, position]) for column in columns)]


def _on_cpu(result: SearchResult) -> SearchResult:
    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: moved(item) for name, item in value.items()}
        return value.cpu() if isinstance(value, Tensor) else value

    return SearchResult.from_tensors(moved(result.tensors()))


def _frames_of(stored: Any) -> tuple[dict[int, Tensor], dict[int, float]]:
    return dict(stored["frames"]), dict(stored["values"])


def _frame_numbers(generations: int, count: int) -> list[int]:
    """Generations to show: the first, the last, and more at the beginning, where more happens."""
    return np.unique(np.round(generations * np.linspace(0, 1, count) ** 2).astype(int)).tolist()


def _state_file(rank: int, world: int) -> str:
    return "state.pt" if world == 1 else f"state-{rank}-of-{world}.pt"
