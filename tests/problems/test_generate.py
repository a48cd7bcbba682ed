"""Generators of valid points: rates and shares by closed form, reproducible, resumable, honest about failure."""

import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import GASettings
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.generate import InfeasibleError, PartFiles, generate
from lightning_gvae.problems.recipes import GeneratorSettings, build_sources
from lightning_gvae.problems.sources import (
    Part,
    Source,
    direct_source,
    ga_source,
    latent_ga_source,
    rejection_source,
)

SMALL = GASettings.generator(20, 100)


class Nowhere:
    """No point meets its criterion."""

    name, dims, low, high = "nowhere", 2, -1.0, 1.0

    def objective(self, x):
        return x.square().sum(1)

    def violations(self, x):
        return 1 + x[:, :1].square()


@pytest.mark.parametrize("dims", [2, 3, 4, 8, 10])
def test_chains_of_c2_are_valid_and_fit_as_often_as_they_should(dims):
    """With steps of 9 a chain fits if its middle has room for the part above it: (100 - 9 (D - 1)) / 100 of all do."""
    source = direct_source(make_criterion("c2", dims), points=40_000)
    points = source.draw(0, 0)
    assert (make_criterion("c2", dims).violations(points) == 0).all()
    assert points.abs().max() <= 50
    assert len(points) / 40_000 == pytest.approx(1 - 0.09 * (dims - 1), abs=0.01)
    steps = points.diff(dim=1)
    assert steps.mean() == pytest.approx(9, abs=0.02)
    # uniform on [8, 10]: a sixth of the steps in any sixth, for the first and the last step alike
    for column in {0, dims - 2}:
        share = np.histogram(steps[:, column], bins=6, range=(8, 10))[0] / len(points)
        assert np.abs(share - 1 / 6).max() < 0.02


def test_the_middle_of_a_chain_is_uniform():
    points = direct_source(make_criterion("c2", 4), points=40_000).draw(0, 0)
    low, high = -50 + 9, 50 - 18
    inner = points[(points[:, 1] > low + 2) & (points[:, 1] < high - 4), 1]
    share = np.histogram(inner, bins=5, range=(low + 2, high - 4))[0] / len(inner)
    assert np.abs(share - 0.2).max() < 0.015


@pytest.mark.parametrize(("name", "dims", "share"), [("c5", None, 0.245), ("c1", 2, 0.005), ("c1", 1, 0.05)])
def test_rejection_keeps_the_valid_share_of_uniform_points(name, dims, share):
    problem = make_criterion(name, dims)
    points = rejection_source(problem, points=100_000).draw(0, 0)
    assert (problem.violations(points) == 0).all()
    assert len(points) / 100_000 == pytest.approx(share, abs=5 * (share / 100_000) ** 0.5)


@pytest.mark.parametrize(("dims", "share"), [(1, 0.092), (3, 0.361)])
def test_the_genetic_algorithm_piles_up_on_the_bounds_as_published(dims, share):
    """Share of coordinates at 50 or -50 in the published data; 2,500 points here, four standard errors."""
    problem = make_criterion("c1", dims)
    points = generate(ga_source(problem), 2500, seed=3)
    assert (problem.violations(points) == 0).all()
    assert (points.abs() == 50).double().mean() == pytest.approx(share, abs=0.025)


def test_only_some_criteria_may_count():
    whole = make_criterion("c4", order=[1, 2, 3])
    points = generate(ga_source(Part(whole, [1]), SMALL), 300, seed=0)
    violations = whole.violations(points)
    assert (violations[:, 1] == 0).all()
    assert (violations[:, [0, 2]] > 0).any(0).all()
    points = generate(ga_source(Part(whole, [0, 2]), SMALL), 300, seed=0)
    assert (whole.violations(points)[:, [0, 2]] == 0).all()


def test_the_latent_generator_decodes():
    problem, low = make_criterion("c1", 2), torch.full((3,), -2.0)
    decode = lambda z: 50 * torch.tanh(z[:, :2])
    points = generate(latent_ga_source(problem, decode, low, -low, SMALL, runs=50), 100, seed=0)
    assert points.shape == (100, 2)
    assert (problem.violations(points) == 0).all()
    assert points.max() <= 50 * np.tanh(2) + 1e-4


def test_the_same_seed_gives_the_same_points_whatever_their_number():
    source = ga_source(make_criterion("c1", 2), SMALL, runs=20)
    state = torch.get_rng_state()
    first, second = generate(source, 50, seed=1), generate(source, 90, seed=1)
    assert torch.equal(first, second[:50])
    assert not torch.equal(first, generate(source, 50, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_killed_generation_goes_on_with_the_same_points(tmp_path):
    problem, parts, calls = make_criterion("c1", 2), PartFiles(tmp_path / "parts"), []
    source = ga_source(problem, SMALL, runs=20)

    def dying(seed, chunk):
        calls.append(chunk)
        if chunk == 2 and calls.count(2) == 1:
            raise KeyboardInterrupt
        return source.draw(seed, chunk)

    fragile = Source("ga", "c1", 2, dying, source.tries, source.patience, source.unit)
    with pytest.raises(KeyboardInterrupt):
        generate(fragile, 75, 1, parts=parts)
    assert sorted(path.name for path in parts.folder.iterdir()) == ["000000.npy", "000001.npy"]
    seen = []
    points = generate(fragile, 75, 1, progress=lambda found, tries: seen.append((found, tries)), parts=parts)
    assert torch.equal(points, generate(source, 75, 1))
    assert calls == [0, 1, 2, 2, 3]
    assert seen[-1] == (75, 80)
    assert [tries for _, tries in seen] == [20, 40, 60, 80]


def test_an_infeasible_criterion_is_given_up_with_the_number_of_tries(tmp_path):
    for source in (
        ga_source(Nowhere(), GASettings.generator(6, 3), runs=10, patience=30),
        rejection_source(Nowhere(), points=10, patience=30),
    ):
        with pytest.raises(
            InfeasibleError, match=rf"meets nowhere was found by {source.name} in the last 30 of 30 "
        ) as info:
            generate(source, 5, 0)
        assert info.value.tries == 30
        assert info.value.points.shape == (0, 2)


def test_what_was_found_before_is_kept(tmp_path):
    made = torch.arange(8.0).view(4, 2)
    source = Source("ga", "c1", 2, lambda seed, chunk: made if chunk == 0 else made[:0], 10, 25, "runs")
    parts = PartFiles(tmp_path / "parts")
    with pytest.raises(
        InfeasibleError, match=r"in the last 30 of 40 runs; 4 of 9 were found before, they are kept in "
    ) as info:
        generate(source, 9, 0, parts=parts)
    assert torch.equal(info.value.points, made)
    assert torch.equal(parts.load(0), made)
    assert torch.equal(generate(source, 4, 0), made)


def test_recipes_follow_the_paper_or_its_repair():
    c4 = make_criterion("c4", order=[1, 2, 4])
    assert [source.name for source in build_sources(c4, paper=True)] == ["ga", "ga", "ga"]
    assert len(build_sources(c4)) == 1
    assert [
        build_sources(make_criterion(name, dims))[0].name for name, dims in (("c1", 2), ("c2", 2), ("c3", 2), ("c5", 2))
    ] == [
        "ga",
        "direct",
        "ga",
        "rejection",
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "magic"}, "`generator.method` must be one of auto, ga, direct, rejection, latent_ga, got 'magic'"),
        ({"method": "direct"}, "`generator.method=direct` can construct points of c2 only, got c1"),
        (
            {"method": "latent_ga"},
            "`generator.decode`, a trained decoder, belongs to generator.method=latent_ga; got method=latent_ga",
        ),
        ({"decode": torch.tanh}, "belongs to generator.method=latent_ga; got method=ga"),
        ({"latent_bound": 0.0}, r"`generator.latent_bound` must be positive \(2 to 4 is usual\), got 0.0"),
        ({"population": 0}, "`generator.population` must be an integer of at least 1"),
    ],
)
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        build_sources(make_criterion("c1", 2), generator=GeneratorSettings(**kwargs))
