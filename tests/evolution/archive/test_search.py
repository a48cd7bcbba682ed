"""Quality-diversity search against brute force over everything it judged, and against itself when interrupted."""

import random
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError
from lightning_gvae.evolution.archive.history import ArchiveJournal
from lightning_gvae.evolution.archive.result import ArchiveResult, Elites
from lightning_gvae.evolution.archive.search import ArchiveSearch, search_archive
from lightning_gvae.evolution.archive.settings import Algorithm, ArchiveSettings, Judged

ALGORITHMS = get_args(Algorithm)
LOW = torch.full((4,), -2.0)


class Toy:
    """Descriptors are the first two latents, the last one in large numbers; realistic is what has a small third."""

    def __init__(self, **changes: Any) -> None:
        self.names = ("x", "y")
        self.ranges = [(-1.0, 1.0), (-1000.0, 1500.0)]
        self.floor = -20.0
        self.realism = True
        self.__dict__.update(changes)
        self.seen: list[tuple[np.ndarray, Judged]] = []

    def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
        columns = torch.stack([decoded[:, 0], 1000 * decoded[:, 1]], 1)
        judged = Judged(-decoded.square().sum(1), columns, decoded[:, 2].abs() < 1 if self.realism else None)
        self.seen.append((latents.numpy().copy(), judged))
        return judged


def settings(algorithm: Algorithm, **changes: Any) -> ArchiveSettings:
    usual: dict[str, Any] = {"shape": (6, 5), "cells": 12, "iterations": 12, "batch_size": 40, "initial": 30}
    return ArchiveSettings(algorithm, **usual | {"emitters": 2} | changes)


def filled(algorithm: Algorithm, problem: Any = None, seed: int = 3, **options: Any) -> ArchiveResult:
    return search_archive(lambda z: z.clone(), problem or Toy(), LOW, -LOW, settings(algorithm), seed, **options)


def same(first: ArchiveResult, second: ArchiveResult) -> None:
    one, other = first.arrays(), second.arrays()
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def by_hand(problem: Toy, result: ArchiveResult, realistic: bool) -> dict[int, tuple[float, np.ndarray]]:
    """Cell by cell the best of all that was judged."""
    best: dict[int, tuple[float, np.ndarray]] = {}
    low, high = result.ranges.T
    for latents, judged in problem.seen:
        assert judged.realistic is not None
        rows = zip(
            latents, judged.objective.tolist(), judged.descriptors.numpy(), judged.realistic.tolist(), strict=True
        )
        for latent, objective, place, real in rows:
            if (place < low).any() or (place > high).any() or (realistic and not real):
                continue
            unit = (place - low) / (high - low)
            if result.shape:
                cell = int(
                    np.ravel_multi_index(
                        tuple(np.minimum(unit * result.shape, np.array(result.shape) - 1).astype(int)), result.shape
                    )
                )
            else:
                cell = int(np.square((result.centroids - low) / (high - low) - unit).sum(1).argmin())
            if cell not in best or objective > best[cell][0]:
                best[cell] = objective, latent
    return best


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("constrained", [True, False])
def test_the_elites_are_the_best_of_all_that_was_judged(algorithm: Algorithm, constrained: bool) -> None:
    problem = Toy()
    result = filled(algorithm, problem, constrained=constrained)
    for realistic in (False, True):
        expected, elites = by_hand(problem, result, realistic), result.elites(realistic)
        assert elites.cell.tolist() == sorted(expected)
        for cell, latent, objective in zip(elites.cell, elites.latents, elites.objective, strict=True):
            assert objective == expected[int(cell)][0]
            assert np.array_equal(latent.astype(np.float32), expected[int(cell)][1])
    assert result.realistic.realistic.all()
    assert set(result.realistic.cell) <= set(result.raw.cell)
    assert result.coverage() == len(result.raw) / (30 if result.shape else 12)
    assert result.qd_score() == pytest.approx(sum(value + 20 for value, _ in by_hand(problem, result, False).values()))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_was_turned_away_is_counted_and_every_generation_is_one_decode(algorithm: Algorithm) -> None:
    problem, decodes = Toy(), []

    def decode(latents: Tensor) -> Tensor:
        decodes.append(len(latents))
        return latents.clone()

    result = search_archive(decode, problem, LOW, -LOW, settings(algorithm), 3)
    assert decodes == [30] + [40] * 12
    places = torch.cat([judged.descriptors for _, judged in problem.seen]).numpy()
    real = torch.cat([judged.realistic for _, judged in problem.seen])  # type: ignore[misc]
    assert result.counts["evaluations"] == len(places) == 30 + 12 * 40
    for column, (name, (low, high)) in enumerate(zip(problem.names, problem.ranges, strict=True)):
        assert result.counts[f"below/{name}"] == (places[:, column] < low).sum() > 0
        assert result.counts[f"above/{name}"] == (places[:, column] > high).sum() > 0
    assert result.counts["unrealistic"] == int((~real).sum()) > 0
    assert result.counts["nan"] == 0
    history = result.history
    assert history["evaluations"].tolist() == [30 + 40 * number for number in range(13)]
    for name in ("cells", "best", "cells_realistic", "qd_score", "qd_score_realistic"):
        assert (np.diff(history[name]) >= 0).all(), name
    assert history["cells"][-1] == len(result.raw)
    assert history["qd_score"][-1] == pytest.approx(result.qd_score())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_interrupted_search_ends_bit_for_bit_as_an_uninterrupted_one(algorithm: Algorithm, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def stop(search: ArchiveSearch) -> None:
        if search.generation == 7:
            search.history.write(tmp_path / "state.npz")
            raise Killed

    straight = filled(algorithm)
    with pytest.raises(Killed):
        filled(algorithm, on_generation=stop)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        assert all(values.dtype != object for values in stored.values())
    problem = Toy()
    resumed = filled(algorithm, problem, stored=ArchiveJournal(tmp_path / "state.npz"))
    assert len(problem.seen) == 5  # generations 8 to 12: nothing is judged twice
    same(straight, resumed)
    assert not np.array_equal(straight.raw.latents, filled(algorithm, seed=4).raw.latents)


def test_a_log_of_another_search_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    filled("map_elites", on_generation=lambda search: search.history.write(path) if search.generation == 5 else None)
    with pytest.raises(CheckpointError, match="seed: stored 3, now 4"):
        filled("map_elites", seed=4, stored=ArchiveJournal(path))
    with np.load(path) as stored:
        arrays: dict[str, Any] = dict(stored)
    arrays["objective"][::2] += 1  # other elites, other parents, other children
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match="do not come out again"):
        filled("map_elites", stored=ArchiveJournal(path))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        ArchiveJournal(path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_fills_what_can_be_filled(algorithm: Algorithm) -> None:
    toy = Toy(ranges=[(-1.0, 1.0), (-1000.0, 1000.0)])
    result = search_archive(lambda z: z, toy, LOW, -LOW, settings(algorithm, iterations=60), 1)
    assert result.coverage() > 0.9
    # The best of a cell has zeros where no descriptor asks for more.
    assert np.abs(result.realistic.latents[:, 2:]).mean() < 0.5


def test_a_search_from_zeros_would_stall_and_this_one_starts_from_the_prior() -> None:
    problem = Toy()
    filled("map_elites", problem)
    start = problem.seen[0][0]
    assert np.abs(start).max() <= 2
    assert 0.8 < start.std() < 1.1
    assert len(np.unique(start, axis=0)) == 30


def test_global_generators_are_left_alone() -> None:
    before = (random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state())  # noqa: NPY002
    for algorithm in ALGORITHMS:
        filled(algorithm)
    after = (random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state())  # noqa: NPY002
    assert before[0] == after[0]
    assert np.array_equal(before[1]["state"]["key"], after[1]["state"]["key"])
    assert torch.equal(before[2], after[2])


def test_chunks_give_the_archive_of_one_call() -> None:
    same(filled("map_elites"), filled("map_elites", chunk_size=7))


def test_without_realism_both_archives_are_one() -> None:
    result = filled("cma_me", Toy(realism=False))
    assert not result.judges_realism
    for name in Elites.__dataclass_fields__:
        assert np.array_equal(getattr(result.raw, name), getattr(result.realistic, name))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_is_an_error_or_counted_and_never_an_elite(algorithm: Algorithm) -> None:
    class Holes(Toy):
        def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
            judged = super().judge(latents, decoded)
            judged.objective[decoded[:, 3] > 1] = torch.nan
            judged.descriptors[decoded[:, 3] < -1, 1] = torch.nan
            return judged

    with pytest.raises(NonFiniteError, match="generation 0 are NaN or infinite"):
        filled(algorithm, Holes())
    problem = Holes()
    result = filled(algorithm, problem, nan="drop")
    holes = sum(int((np.abs(latents[:, 3]) > 1).sum()) for latents, _ in problem.seen)
    assert result.counts["nan"] == holes > 0
    assert (np.abs(result.raw.latents[:, 3]) <= 1).all()
    assert np.isfinite(result.raw.objective).all()


def test_a_constant_descriptor_is_refused_by_name() -> None:
    class Flat(Toy):
        def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
            judged = super().judge(latents, decoded)
            judged.descriptors[:, 1] = 250.0
            return judged

    with pytest.raises(ConfigError, match="descriptor y is constant: all 30 initial candidates have 250"):
        filled("map_elites", Flat())


def test_an_archive_that_takes_nothing_says_why() -> None:
    with pytest.raises(
        ConfigError,
        match=r"none of the 30 initial candidates: 12 unrealistic, 30 below the range of x.*Widen the ranges",
    ):
        filled("map_elites", Toy(ranges=[(5.0, 6.0), (-1.0, 1.0)]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("x",)}, "one range for each descriptor"),
        ({"ranges": [(1.0, -1.0), (0.0, 1.0)]}, r"range of descriptor x must be \[low, high\]"),
        ({"names": ("x", "y", "w"), "ranges": [(0.0, 1.0)] * 3}, "`shape` must hold one number for each of the 3"),
        ({"floor": -1.0}, "it is -1, and an objective of"),
        ({"floor": float("nan")}, "`floor` must be a number"),
    ],
)
def test_a_problem_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filled("map_elites", Toy(**changes))


def test_shapes_of_a_problem_and_a_decoder_are_checked() -> None:
    class Wrong(Toy):
        def judge(self, latents: Tensor, decoded: Tensor, /) -> Judged:
            return Judged(decoded[:, 0], decoded[:, :3])

    with pytest.raises(
        ConfigError, match=r"`descriptors` of the problem must be of shape \(30, 2\), got shape \(30, 3\)"
    ):
        filled("map_elites", Wrong())
    with pytest.raises(ConfigError, match="`decode` must give one row a latent, 30 here, got shape"):
        search_archive(lambda z: z[:3], Toy(), LOW, -LOW, settings("map_elites"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "nsga"}, "`algorithm` must be one of map_elites"),
        ({"shape": (1, 5)}, "`shape` must be an integer of at least 2"),
        ({"iterations": 0}, "`iterations`"),
        ({"iso_sigma": 0.0}, "`iso_sigma` must be positive"),
        ({"line_sigma": -1.0}, "`line_sigma`"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"algorithm": "cma_me", "batch_size": 10, "emitters": 5}, "each of the 5 emitters at least 4 candidates"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ArchiveSettings(**changes)


def test_without_pyribs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ribs", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-gvae\[qd\]'"):
        filled("map_elites")


def test_a_result_survives_a_file(tmp_path: Path) -> None:
    for algorithm in ("map_elites", "cvt_map_elites"):
        result = filled(algorithm)
        arrays: dict[str, Any] = result.arrays()
        np.savez(tmp_path / "archive.npz", **arrays)
        with np.load(tmp_path / "archive.npz", allow_pickle=False) as stored:
            back = ArchiveResult.from_arrays(stored)
        same(result, back)
        assert back.counts == result.counts
        assert back.names == ("x", "y")
    with pytest.raises(ConfigError, match="no grid"):
        back.on_grid(back.raw.objective)


def test_elites_lie_on_the_grid_where_their_descriptors_say() -> None:
    result = filled("map_elites")
    grid = result.on_grid(result.raw.descriptors, realistic=False)
    assert grid.shape == (6, 5, 2)
    for (row, column), place in {(r, c): grid[r, c] for r in range(6) for c in range(5)}.items():
        if np.isfinite(place).all():
            assert -1 + row / 3 <= place[0] <= -1 + (row + 1) / 3
            assert -1000 + 500 * column <= place[1] <= -1000 + 500 * (column + 1)
