"""LayeredSOLVE: what each layer accepts, repaired and as published, and the check for collapse."""

import math

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.search import GASettings, search
from lightning_gvae.models.stacked_vae import fit_stacked
from lightning_gvae.problems.criteria import make_criterion
from lightning_gvae.problems.generate import InfeasibleError
from lightning_gvae.problems.layered import CollapseError, LayeredSettings, check_spread, layered

QUICK = {"points": 60, "population": 20, "generations": 60, "check": False}


class Box:
    """A space without a network: latents in [-bound, bound]^4 are points of the box of a layer's points."""

    latent_dim, decodes = 4, 0

    def __init__(self, points, bound=3.0):
        self.low, self.high, self.bound = points.amin(0), points.amax(0), bound

    def decode(self, latents):
        self.decodes += 1
        return self.low + (latents / self.bound + 1) / 2 * (self.high - self.low)

    def encode(self, points):
        mean = ((points - self.low) / (self.high - self.low) * 2 - 1) * self.bound
        return mean, torch.full_like(mean, -8.0)


def make(order=(1, 2, 3), **settings):
    problem = make_criterion("c4", order=order)
    return problem, layered(problem, lambda points, number: Box(points), LayeredSettings(**QUICK | settings), seed=1)


@pytest.mark.parametrize("bound", [3.0, "auto"])
def test_repaired_every_layer_meets_all_criteria_so_far(bound):
    problem, layers = make(bound=bound)
    assert len(layers) == 3
    for number, layer in enumerate(layers):
        assert layer.points.shape == (60, 4)
        violations = problem.violations(layer.points)
        assert (violations[:, : number + 1] == 0).all()
        if number < 2:
            assert (violations[:, number + 1] > 0).any()


def test_as_published_the_third_layer_is_accepted_by_the_first_two_criteria():
    """Which is why its points need not meet the third: the published solutions for three criteria are all invalid."""
    problem, layers = make(paper=True, generations=10)
    violations = problem.violations(layers[2].points)
    assert (violations[:, :2] == 0).all()
    assert (violations[:, 2] > 0).any()


def test_as_published_no_run_ends_early():
    """All generations run, however early a point is valid; repaired, a run ends with its first valid point."""
    calls = {}
    for paper in (True, False):
        spaces: list[Box] = []

        def fit_counting(points, number, spaces=spaces):
            spaces.append(Box(points))
            return spaces[-1]

        problem = make_criterion("c4", order=(1, 2))
        layered(problem, fit_counting, LayeredSettings(**QUICK | {"paper": paper}), seed=1)
        calls[paper] = spaces[0].decodes
    assert calls[True] % (QUICK["generations"] + 1) == 0
    assert calls[False] < QUICK["generations"] / 2


def test_the_same_seed_gives_the_same_layers():
    (_, first), (_, second) = make(order=(1, 2)), make(order=(1, 2))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours.points, theirs.points)


def test_a_layer_without_points_is_given_up():
    problem = make_criterion("c4", order=[1, 2])
    low = torch.tensor([0.0, 0.0, 0.0, 0.0])  # x2 is never below -45 in this space
    nowhere = lambda points, number: Box(torch.stack([low, low + 50]))
    with pytest.raises(InfeasibleError, match="criteria 0, 1 of its columns was found by latent_ga in the last 2,000"):
        layered(problem, nowhere, LayeredSettings(**QUICK | {"generations": 2, "population": 6}))


@pytest.mark.parametrize(
    ("points", "stds", "distinct"),
    [
        (torch.zeros(100, 4), "0, 0, 0, 0", "1.0% of 100"),
        (torch.cat([torch.randn(100, 1), torch.zeros(100, 3)], 1) * 3, ", 0, 0, 0", "100.0% of 100"),
        (torch.randn(5, 4).repeat(20, 1) * 10, "", "5.0% of 100"),
    ],
)
def test_collapsed_points_are_refused_with_their_figures(points, stds, distinct):
    with pytest.raises(CollapseError) as info:
        check_spread(points, 100.0, "layer 2 of 3")
    message = str(info.value)
    assert "the points of layer 2 of 3 have collapsed" in message and stds in message and distinct in message
    torch.testing.assert_close(info.value.stds, points.double().std(0, correction=0))
    assert "paper=false" in message and "check=false" in message


def test_points_that_vary_pass():
    stream = torch.Generator().manual_seed(0)
    check_spread(torch.randn(100, 4, generator=stream) * torch.tensor([1.0, 1.0, 0.0, 0.0]), 100.0, "x")
    check_spread(torch.randn(100, 1, generator=stream), 100.0, "one variable")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 0}, "`points` must be an integer of at least 1"),
        ({"bound": -2.0}, "`bound` must be a positive half width of the latent box or 'auto', got -2.0"),
        ({"bound": math.nan}, "got nan"),
        ({"bound": "wide"}, "got 'wide'"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        LayeredSettings(**settings)


def fit(points, number):
    return fit_stacked([points], [number], candidates=1, epochs=200)[0]


@pytest.mark.slow
@pytest.mark.parametrize("order", [(1, 2, 3), (1, 2, 4)])
def test_repaired_layers_lead_to_the_optimum(order):
    problem = make_criterion("c4", order=order)
    last = layered(problem, fit, LayeredSettings(points=2000), seed=1)[-1]
    for rules in (GASettings.paper(), GASettings()):
        final = search(last.space.decode, problem, last.low, last.high, 100, rules, seed=2).final
        gap = 100 * (final.objective / problem.true_optimum - 1)
        assert final.valid.double().mean() >= 0.95
        assert gap.mean() < 10
    latents = last.low + (last.high - last.low) * torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))
    assert (last.space.decode(latents).std(0) > 0.5).sum() >= 2
    assert len(last.points.unique(dim=0)) > 0.9 * len(last.points)


def fit_best_of_3(points, number):
    return fit_stacked([points], [number], candidates=3, epochs=200)[0]


@pytest.mark.slow
def test_as_published_three_criteria_collapse():
    """The published third layer has standard deviations of 0.00 to 0.28 and meets only two of its three criteria."""
    problem = make_criterion("c4", order=(1, 2, 3))
    with pytest.raises(CollapseError, match="the points of layer [23] of 3 have collapsed") as info:
        layered(problem, fit_best_of_3, LayeredSettings(points=1000, bound=2.0, paper=True), seed=1)
    assert (info.value.stds > 0.5).sum() < 2 or info.value.distinct < 0.9
