"""One latent search on a trained model: bounds, problem, the search itself, and what it leaves in a folder."""

import csv
import hashlib
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_gvae.callbacks.image_tools import ModelTools
from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.evolution.latent import (
    HISTORY,
    Engine,
    GASettings,
    Generation,
    NanPolicy,
    Problem,
    SearchResult,
    latent_bounds,
    merge,
    search,
)
from lightning_gvae.evolution.ranks import from_first_rank, gather_over_ranks, place
from lightning_gvae.evolution.scratch import preserved_rng
from lightning_gvae.plots.style import replace_file
from lightning_gvae.problems.images import ImageGoal

__all__ = ["Found", "SearchOptions", "run_latent_search", "search_box", "still", "weights_digest"]

FOLDER = "latent_search"
MOST_FRAMES = 100


@dataclass(frozen=True)
class SearchOptions:
    """What is searched and how.

    Args:
        problem: A goal for images, or any object with ``objective`` and ``violations`` of decoded points.
        bounds: ``"auto"`` (where the posteriors of training data lie, see
            :func:`~lightning_gvae.evolution.latent.latent_bounds`), or a lower and an upper bound of every latent.
        runs: Independent runs.
        settings: Of the genetic algorithm.
        engine: ``"torch"``, ``"deap"`` or ``"pymoo"``.
        space: ``"latent"``, or ``"noise"``: search the standard normal noise that a learnt prior makes latents of.
        chunk_size: Latents decoded at a time; None for all.
        nan: Whether a NaN of the problem is an ``"error"`` or the ``"worst"``.
        frames: Generations of which the best image of run 0 is shown, 2 to 100.
        save_every: Generations after which the state is saved; None never.
        cache_dir: Where classifiers are kept.
        seed: Of every draw.

    Raises:
        ConfigError: An argument is out of range.
    """

    problem: Problem | ImageGoal
    bounds: Literal["auto"] | Sequence[float] = "auto"
    runs: int = 16
    settings: GASettings = field(default_factory=GASettings)
    engine: Engine = "torch"
    space: Literal["latent", "noise"] = "latent"
    chunk_size: int | None = None
    nan: NanPolicy = "error"
    frames: int = 8
    save_every: int | None = 10
    cache_dir: str | Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checked_count("runs", self.runs)
        if checked_count("frames", self.frames, 2) > MOST_FRAMES:
            raise ConfigError(f"`frames` must be at most {MOST_FRAMES}, got {self.frames}")
        if self.save_every is not None:
            checked_count("save_every", self.save_every, unit="generations")
        if self.space not in ("latent", "noise"):
            raise ConfigError(f"`space` must be latent or noise, got {self.space!r}")
        for name in () if isinstance(self.problem, ImageGoal) else ("objective", "violations"):
            if not callable(getattr(self.problem, name, None)):
                raise ConfigError(
                    f"`problem` must have methods `objective` and `violations`, {type(self.problem).__name__} lacks "
                    f"`{name}`"
                )
        if isinstance(self.bounds, str):
            if self.bounds != "auto":
                raise ConfigError(f"`bounds` must be auto or two numbers, got {self.bounds!r}")
            if self.space == "noise":
                raise ConfigError("`bounds=auto` looks at codes of data, not at noise; give two numbers, e.g. [-2, 2]")
        elif len(self.bounds) != 2 or not self.bounds[0] < self.bounds[1]:
            raise ConfigError(f"`bounds` must be auto or [lower, upper] with lower < upper, got {list(self.bounds)}")


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
    model: Any,
    datamodule: Any,
    options: SearchOptions,
    folder: Path,
    forward_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    earlier: Path | None = None,
) -> Found:
    """Search the latent space of a trained model; every rank of a process group must call it.

    The model is only looked at: evaluation mode, no gradients, all global generators as they were. The runs are shared
    out over the ranks; every rank returns all of them. ``folder/latent_search`` gets ``result.pt`` (plain tensors) and
    ``history.csv``, and while the search runs its state: a search that was killed goes on from there, and one that is
    finished is read, provided that model, options and seed are the same.

    Args:
        model: With ``decode`` and ``latent_dim``; for ``bounds="auto"`` and for goals as far as they need it also
            ``encode`` and ``prepare``.
        datamodule: Set up; needed for ``bounds="auto"`` and for goals.
        options: What and how.
        folder: The run folder.
        forward_context: Precision in which to run the model.
        earlier: Run folder that this run continues, if any; its state or result is taken too.

    Raises:
        ConfigError: The model or the data lack what is asked for, or the decoder, the problem or the bounds do not fit.
    """
    rank, world = place()
    with still(model), preserved_rng(model.device):
        tools = ModelTools(model, datamodule, options.cache_dir, options.seed)
        low, high = from_first_rank(search_box(model, tools, options.bounds))
        key = _fingerprint(model, datamodule, options, low, high)
        places = list(dict.fromkeys((path / FOLDER).resolve() for path in (folder, earlier) if path is not None))
        problem = options.problem.bind(tools) if isinstance(options.problem, ImageGoal) else options.problem
        bounds = torch.stack([low, high])
        done = from_first_rank(_stored(places, "result.pt", key))
        if done is not None:
            rank_zero_info("The latent search was finished before; its result is taken.")
            found = Found(SearchResult.from_tensors(done["result"]), problem, *_frames_of(done), bounds)
            if rank == 0:
                _write(folder / FOLDER, found, key)
            return found

        keeper = _Keeper(places, _state_file(rank, world), key, options)

        def decode(latents: Tensor) -> Tensor:
            with torch.inference_mode(), forward_context():
                decoded = (model.decode if options.space == "latent" else model.decode_noise)(latents.to(model.device))
            return decoded.clone()  # an ordinary tensor again

        mine = search(
            decode,
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

    def __init__(self, places: Sequence[Path], file: str, key: str, options: SearchOptions) -> None:
        self.options, self.key, self.state_path = options, key, places[0] / file
        self.frames: dict[int, Tensor] = {}
        self.values: dict[int, float] = {}
        self._shown = set(_frame_numbers(options.settings.generations, options.frames))
        self.state: Any = None
        stored = _stored(places, file, key) if options.engine == "torch" else None
        if stored is not None:
            self.state, (self.frames, self.values) = stored["state"], _frames_of(stored)
            rank_zero_info(f"The latent search goes on after generation {self.state['number']}.")

    def __call__(self, generation: Generation) -> None:
        number, every = generation.number, self.options.save_every
        if number in self._shown and len(generation.runs) and generation.runs[0] == 0:
            best = generation.best[0]
            self.frames[number] = generation.scored.decoded[0, best].cpu().clone()
            self.values[number] = float(generation.scored.objective[0, best])
        if every is not None and number and number % every == 0 and number < self.options.settings.generations:
            stored = {"key": self.key, "state": generation.state(), "frames": self.frames, "values": self.values}
            replace_file(self.state_path, lambda beside: torch.save(stored, beside))


def search_box(model: Any, tools: ModelTools, bounds: Literal["auto"] | Sequence[float]) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds ``(L,)``: the same two for every latent, or where codes of training data lie.

    Raises:
        ConfigError: ``"auto"`` of a model that does not encode.
    """
    size = int(model.latent_dim)
    if isinstance(bounds, str):
        return _auto_box(model, tools)
    return torch.full((size,), float(bounds[0])), torch.full((size,), float(bounds[1]))


def _auto_box(model: Any, tools: ModelTools) -> tuple[Tensor, Tensor]:
    if not callable(getattr(model, "encode", None)):
        raise ConfigError(
            f"`bounds=auto` encodes training data and {type(model).__name__} has no `encode`; give two numbers, "
            "e.g. bounds=[-2,2]"
        )
    try:
        found = tools.posteriors()
    except ConfigError as error:
        raise ConfigError(
            f"`bounds=auto` encodes training data: {error} Or give two numbers, e.g. bounds=[-2,2]."
        ) from error
    low, high = latent_bounds(found.means, (0.5 * found.log_vars).exp())
    return low.float(), high.float()


def _fingerprint(model: Any, datamodule: Any, options: SearchOptions, low: Tensor, high: Tensor) -> str:
    """Of all that decides what a search finds: another one starts anew."""
    settled = {
        "data": repr(getattr(datamodule, "spec", None)),
        "problem": repr(options.problem),
        "bounds": [low.tolist(), high.tolist()],
        "settings": asdict(options.settings),
        **{name: getattr(options, name) for name in ("runs", "engine", "space", "chunk_size", "nan", "frames", "seed")},
    }
    digest = hashlib.blake2b(json.dumps(settled, sort_keys=True).encode(), digest_size=16)
    digest.update(weights_digest(model).encode())
    return digest.hexdigest()


def weights_digest(model: torch.nn.Module) -> str:
    """Of all parameters and buffers of a model, bit for bit."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(model.state_dict().items()):
        if isinstance(values, Tensor):
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stored(places: Sequence[Path], file: str, key: str) -> Any:
    """What an earlier call of the same search left in the first place that has it; None if nothing."""
    for place_ in places:
        path = place_ / file
        if not path.is_file():
            continue
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path} cannot be read ({reason}); delete it, and the search starts anew") from error
        if isinstance(stored, dict) and stored.get("key") == key:
            return stored
        rank_zero_info(f"{path} belongs to a search with other settings or another model; the search starts anew.")
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
        replace_file(folder / "result.pt", lambda beside: torch.save(stored, beside))
        replace_file(folder / "history.csv", lambda beside: _write_history(beside, found.result))
    except OSError as error:
        raise ConfigError(f"`folder` must be a folder that can be written, {folder}: {error}") from error


def _write_history(path: Path, result: SearchResult) -> None:
    columns = [result.history[name].numpy() for name in HISTORY]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "generation", *HISTORY])
        for position, run in enumerate(result.runs.tolist()):
            for generation in range(int(result.generations[position]) + 1):
                writer.writerow([run, generation, *(float(column[generation, position]) for column in columns)])


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


@contextmanager
def still(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode; every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
