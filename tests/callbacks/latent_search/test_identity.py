"""Searches in one folder: a stored result is taken for the very same problem, and for no other."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gvae.callbacks.latent_archive.run import ArchiveOptions, run_latent_archive
from lightning_gvae.callbacks.latent_search.run import SearchOptions, run_latent_search
from lightning_gvae.evolution.archive.settings import ArchiveSettings, Judged
from lightning_gvae.evolution.latent.search import GASettings
from lightning_gvae.problems.archive_goal import ArchiveGoal
from lightning_gvae.problems.images import ImageGoal
from tests.callbacks import FakeVAE
from tests.callbacks.latent_search.test_callback import Data

SEARCH = GASettings(population=8, generations=3)
ARCHIVE = ArchiveSettings(shape=(3, 3), iterations=2, batch_size=10, initial=20, iso_sigma=0.3)
LOGGER = "lightning.pytorch.utilities.rank_zero"


@dataclass
class Match:
    target: Any

    def objective(self, images: Tensor, /) -> Tensor:
        return (images - torch.as_tensor(self.target)).square().flatten(1).mean(1).float()

    def violations(self, images: Tensor, /) -> Tensor:
        return images.new_zeros(len(images), 0)


class By:
    """A problem made of a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def objective(self, images: Tensor, /) -> Tensor:
        return self.function(images).flatten(1).mean(1)

    def violations(self, images: Tensor, /) -> Tensor:
        return images.new_zeros(len(images), 0)


def distance(images: Tensor, level: float) -> Tensor:
    return (images - level).abs()


def closure(level: float) -> Callable[[Tensor], Tensor]:
    return lambda images: (images - level).abs()


def default(level: float) -> Callable[[Tensor], Tensor]:
    def distance_from(images: Tensor, by: float = level) -> Tensor:
        return (images - by).abs()

    return distance_from


class Level:
    def __init__(self, level: float) -> None:
        self.level = level

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.level).abs()


def network(level: float) -> torch.nn.Module:
    layer = torch.nn.Threshold(level, 0.0)
    return torch.nn.Sequential(layer)


# how a target gets into a problem; each is called with 0.2 and with 0.8
PROBLEMS: dict[str, Callable[[float], Any]] = {
    "tensor": lambda level: Match(torch.full((1, 8, 8), level)),
    "array": lambda level: Match(np.full((1, 8, 8), level)),
    "number": Match,
    "closure": lambda level: By(closure(level)),
    "partial": lambda level: By(functools.partial(distance, level=level)),
    "default argument": lambda level: By(default(level)),
    "bound method": lambda level: By(Level(level).measure),
    "lambda": lambda level: By((lambda images: images - 0.2) if level < 0.5 else (lambda images: images - 0.8)),
    "network": lambda level: By(network(level)),
}


def search(problem: Any, folder: Path, model: Any = None, data: Any = None) -> Any:
    options = SearchOptions(problem=problem, runs=2, settings=SEARCH, bounds=(-2.0, 2.0))
    return run_latent_search(model or FakeVAE().eval(), data, options, folder).result


def archive(goal: Any, folder: Path, data: Any = None) -> Any:
    options = ArchiveOptions(goal=goal, settings=ARCHIVE, bounds=(-3.0, 3.0))
    return run_latent_archive(FakeVAE().eval(), data, options, folder).result


@pytest.mark.parametrize("kind", PROBLEMS)
def test_another_target_is_searched_for_and_the_same_one_is_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = PROBLEMS[kind]
    first = search(make(0.2), tmp_path / "one")
    alone = search(make(0.8), tmp_path / "two")
    with caplog.at_level("INFO", logger=LOGGER):
        second = search(make(0.8), tmp_path / "one")
        assert "result.pt belongs to a search with other settings, another problem or another model" in caplog.text
        caplog.clear()
        again = search(make(0.8), tmp_path / "one")
        assert "was finished before; its result is taken" in caplog.text
    assert torch.equal(second.final.objective, alone.final.objective)
    assert torch.equal(again.final.objective, alone.final.objective)
    assert not torch.equal(second.final.objective, first.final.objective)


class Near:
    """A goal of the archive: images of a brightness."""

    names, ranges, floor = ("left", "top"), [(0.3, 0.7), (0.3, 0.7)], -2.0

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def judge(self, latents: Tensor, images: Tensor, /) -> Judged:
        objective = -self.function(images).reshape(len(images), -1).mean(1).clamp(-1, 1)
        sides = [images[..., :4].flatten(1).mean(1), images[..., :4, :].flatten(1).mean(1)]
        return Judged(objective, torch.stack(sides, 1))


GOALS: dict[str, Callable[[float], Any]] = {
    name: functools.partial(lambda make, level: Near(make(level).objective), make) for name, make in PROBLEMS.items()
} | {
    "own objective": lambda level: ArchiveGoal(
        {"brightness": [0.3, 0.7], "width": [0.0, 8.0]},
        objective=lambda images: -(images - level).abs().flatten(1).mean(1),
        floor=-1.0,
    ),
    "own descriptor": lambda level: ArchiveGoal(
        {"a": {"measure": lambda images: images.flatten(1).mean(1) - level, "range": [-1, 1]}, "brightness": [0.3, 0.7]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOALS)
def test_another_goal_fills_another_archive_and_the_same_one_is_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, data = GOALS[kind], Data()
    first = archive(make(0.2), tmp_path / "one", data)
    alone = archive(make(0.8), tmp_path / "two", data)
    with caplog.at_level("INFO", logger=LOGGER):
        second = archive(make(0.8), tmp_path / "one", data)
        assert "archive.npz belongs to a search with other settings, another problem or another model" in caplog.text
        caplog.clear()
        again = archive(make(0.8), tmp_path / "one", data)
        assert "The archive was filled before; it is taken" in caplog.text
    for name, values in alone.arrays().items():
        assert np.array_equal(values, second.arrays()[name]) and np.array_equal(values, again.arrays()[name]), name
    assert any(not np.array_equal(values, first.arrays()[name]) for name, values in alone.arrays().items())


class Other(Data):
    """The toy data with one pixel changed."""

    def __init__(self, part: str) -> None:
        super().__init__()
        getattr(self, part).source.images[0, 0, 0, 0] ^= 1


@pytest.mark.parametrize("part", ["train_set", "test_set"])
def test_other_data_are_another_problem_for_a_goal_that_looks_at_them(
    part: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search(ImageGoal("target_distance", target=0), tmp_path, data=Data())
    with caplog.at_level("INFO", logger=LOGGER):
        search(ImageGoal("target_distance", target=0), tmp_path, data=Other(part))
        assert "the search starts anew" in caplog.text
        caplog.clear()
        search(ImageGoal("target_distance", target=0), tmp_path, data=Other(part))
        assert "its result is taken" in caplog.text


def test_what_cannot_be_identified_is_computed_again_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "file").open("w") as file:
        problem, goal = By(lambda images: images * file.fileno()), Near(lambda images: images * file.fileno())
        for run, title in (
            (lambda: search(problem, tmp_path), "latent search"),
            (lambda: archive(goal, tmp_path), "archive"),
        ):
            for attempt in range(2):
                caplog.clear()
                with caplog.at_level("INFO", logger=LOGGER):
                    run()
                assert (
                    f"{title} cannot be gone on with after a stop, and its result cannot be taken again" in caplog.text
                )
                assert ".function.closure.file: an open file." in caplog.text
                assert ("belongs to a search that cannot be identified; the search starts anew" in caplog.text) == bool(
                    attempt
                )


def test_results_of_an_earlier_version_are_recognised_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = search(Match(0.2), tmp_path)
    path = tmp_path / "latent_search" / "result.pt"
    stored = torch.load(path, weights_only=True)
    torch.save(stored | {"key": "0" * 32}, path)  # as before: the hash of a description
    filled = archive(Near(closure(0.2)), tmp_path)
    place = tmp_path / "latent_archive" / "archive.npz"
    with np.load(place) as arrays:
        earlier = dict(arrays)
    about = str(earlier["facts"]).split('"about": "')[1].split('"')[0]
    np.savez(place, **earlier | {"facts": np.array(str(earlier["facts"]).replace(about, "0" * 32))})
    with caplog.at_level("INFO", logger=LOGGER):
        assert torch.equal(search(Match(0.2), tmp_path).final.objective, found.final.objective)
        assert np.array_equal(archive(Near(closure(0.2)), tmp_path).raw.latents, filled.raw.latents)
    assert (
        caplog.text.count("was written by an earlier version, which did not record enough to tell problems apart") == 2
    )
