"""Voronoi-Elites against a loop that follows the published description word by word."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.archive.voronoi import survivors, voronoi_elites
from lightning_gvae.rng import torch_stream

LOW = torch.full((3,), -1.0)


def written_out(niches: np.ndarray, fitness: np.ndarray, bins: int) -> list[int]:
    alive = list(range(len(niches)))
    while len(alive) > bins:
        pairs = [(np.linalg.norm(niches[a] - niches[b]), a, b) for i, a in enumerate(alive) for b in alive[i + 1 :]]
        _, a, b = min(pairs)
        alive.remove(b if fitness[a] >= fitness[b] else a)
    return alive


@pytest.mark.parametrize("seed", range(5))
def test_survivors_are_those_of_the_loop(seed: int) -> None:
    stream = torch_stream(seed, "niches")
    niches = torch.rand(40, 2, generator=stream, dtype=torch.float64)
    fitness = torch.randint(4, (40,), generator=stream).double()
    for bins in (39, 20, 2):
        assert survivors(niches, fitness, bins).tolist() == written_out(niches.numpy(), fitness.numpy(), bins)


def test_of_two_that_are_the_same_the_fitter_stays_and_of_equals_the_first() -> None:
    niches = torch.tensor([[0.0], [0.0], [9.0]])
    assert survivors(niches, torch.tensor([1.0, 2.0, 0.0]), 2).tolist() == [1, 2]
    assert survivors(niches, torch.tensor([1.0, 1.0, 0.0]), 2).tolist() == [0, 2]


def plain(genomes: Tensor) -> tuple[Tensor, Tensor]:
    return -genomes[:, 2].square(), genomes[:, :2]


def test_never_more_than_the_bins_and_the_set_spreads_and_gets_fitter() -> None:
    start = 0.1 * torch.randn(10, 3, generator=torch_stream(0, "start"))
    sizes = []

    def watched(genomes: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(genomes))
        return plain(genomes)

    found = voronoi_elites(start, watched, LOW, -LOW, bins=30, generations=40, children=16, seed=1)
    assert len(found.genomes) == 30
    assert sizes == [10] + [16] * 40
    assert (found.genomes.abs() <= 1).all()
    assert torch.equal(found.fitness, plain(found.genomes)[0].double())
    assert found.niches.std(0).min() > 3 * start[:, :2].std(0).max()
    assert found.fitness.mean() > -0.05


def test_a_seed_means_one_search_and_the_global_generator_is_left_alone() -> None:
    start, before = torch.zeros(2, 3), torch.get_rng_state()
    runs = [voronoi_elites(start, plain, LOW, -LOW, 20, 10, seed=seed).genomes for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.get_rng_state())


def test_nan_rejects_a_child_and_is_counted() -> None:
    def holes(genomes: Tensor) -> tuple[Tensor, Tensor]:
        fitness, niches = plain(genomes)
        return torch.where(genomes[:, 0] > 0, torch.nan, fitness), niches

    start = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    found = voronoi_elites(start, holes, LOW, -LOW, 15, 20, seed=1)
    assert (found.genomes[:, 0] <= 0).all()
    assert found.rejected > 1
    with pytest.raises(ConfigError, match="not one of the 1 first genomes"):
        voronoi_elites(start[1:], holes, LOW, -LOW, 15, 20)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="`bins`"):
        voronoi_elites(torch.zeros(2, 3), plain, LOW, -LOW, bins=1)
    with pytest.raises(ConfigError, match="`sigma`"):
        voronoi_elites(torch.zeros(2, 3), plain, LOW, -LOW, sigma=0)
    with pytest.raises(ConfigError, match="`evaluate` must give"):
        voronoi_elites(torch.zeros(2, 3), lambda z: (z, z), LOW, -LOW)
