"""Diversity weights against closed forms and a direct optimiser of the primal problem."""

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.diversity.vendi import unit_rows, vendi_kernel
from lightning_gvae.metrics.diversity.weights import WeightObjective, diversity_weights


def exact(**settings):
    """Settings, optimised further than training needs."""
    return WeightObjective(**{"steps": 3000, "tolerance": 1e-11, **settings})


def clusters(*sizes):
    return torch.eye(len(sizes), dtype=torch.float64).repeat_interleave(torch.tensor(sizes), 0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_clusters_of_ten_to_one_get_equal_mass():
    found = diversity_weights(clusters(1000, 100), exact(strength=1.0))
    assert float(found.weights[:1000].sum()) == pytest.approx(0.5, abs=1e-6)
    assert found.weights[:1000].std() < 1e-12, "what is alike is treated alike"
    assert found.uniform_vendi == pytest.approx(np.exp(-(10 * np.log(10 / 11) + np.log(1 / 11)) / 11))
    assert found.vendi == pytest.approx(2, abs=1e-9)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_strength_has_a_closed_form_whatever_the_size(strength):
    for scale in (1, 20):
        sizes = torch.tensor([40, 12, 5]) * scale
        found = diversity_weights(clusters(*sizes), exact(strength=strength, ess=0.05))
        masses = torch.stack([part.sum() for part in found.weights.split(sizes.tolist())])
        expected = sizes.double() ** (1 - strength)
        assert torch.allclose(masses, expected / expected.sum(), atol=1e-4)


def primal(features: torch.Tensor, objective: WeightObjective) -> float:
    """The best value that SLSQP finds over the weights themselves, through the n x n kernel, from several starts."""
    kernel = unit_rows(features) @ unit_rows(features).T
    n = len(features)

    def cost(p):
        p = np.maximum(p, 1e-12) / np.maximum(p, 1e-12).sum()
        vendi = vendi_kernel(kernel, objective.order, torch.from_numpy(p))
        diverse = np.log(vendi) if objective.objective == "nats" else vendi
        return -(objective.strength * diverse - (1 - objective.strength) * (p @ np.log(p)))

    best = np.inf
    for seed in range(3):
        start = np.random.default_rng(seed).dirichlet(np.full(n, 30.0))
        found = minimize(
            cost,
            start,
            method="SLSQP",
            bounds=[(0, 1)] * n,
            constraints=[
                LinearConstraint(np.ones(n), 1, 1),
                NonlinearConstraint(lambda p: p @ p, 0, 1 / (objective.ess * n)),
            ],
            options={"maxiter": 300, "ftol": 1e-11},
        )
        best = min(best, found.fun)
    return -best


@pytest.mark.parametrize(
    "objective",
    [
        exact(strength=0.7, ess=0.2),
        exact(strength=1.0, ess=0.6),
        exact(strength=1.0, ess=0.9),
        exact(strength=0.9, order=2.0, ess=0.5),
        exact(strength=0.8, order=0.5, ess=0.5),
        exact(strength=0.5, objective="published", ess=0.7),
    ],
    ids=lambda objective: f"b={objective.strength}, q={objective.order}, ess={objective.ess}",
)
def test_a_direct_optimiser_finds_nothing_better(objective):
    features = normal(14, 4) + torch.tensor([1.0, 0, 0, 0])
    found = diversity_weights(features, objective)
    kernel = unit_rows(features) @ unit_rows(features).T
    assert found.vendi == pytest.approx(vendi_kernel(kernel, objective.order, found.weights), rel=1e-9)
    assert found.effective_samples >= objective.ess * 14 * (1 - 1e-9)
    diverse = np.log(found.vendi) if objective.objective == "nats" else found.vendi
    value = objective.strength * diverse + (1 - objective.strength) * found.entropy
    assert value == pytest.approx(primal(features, objective), abs=2e-4)


def test_the_bound_on_the_effective_sample_size_holds_and_is_needed():
    features = torch.cat([normal(300, 8) * 0.1 + 1, normal(30, 8, seed=1)])
    free = diversity_weights(features, exact(strength=1.0, ess=0.001))
    bound = diversity_weights(features, exact(strength=1.0, ess=0.5))
    assert free.effective_samples < 100
    assert bound.effective_samples == pytest.approx(165, rel=1e-3)
    assert free.vendi > bound.vendi > bound.uniform_vendi
    assert float(bound.weights.sum()) == pytest.approx(1) and float(bound.weights.min()) >= 0


def test_negative_cosines_and_repeated_calls():
    features = torch.cat([torch.eye(3), -torch.eye(3)])
    found = diversity_weights(features)
    assert torch.allclose(found.weights, torch.full((6,), 1 / 6, dtype=torch.float64))
    again = [diversity_weights(normal(200, 10)).weights for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 1.5}, r"`strength` must lie in \[0, 1\], got 1.5"),
        ({"ess": 0.0}, r"`ess` must lie in \(0, 1\], got 0.0"),
        ({"order": 0}, "`order` must be above 0 and finite to be optimised, got 0"),
        ({"objective": "paper"}, "`objective` must be one of nats, published, got 'paper'"),
        ({"steps": 0}, "`steps` must be an integer of at least 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        WeightObjective(**settings)


def test_features_that_cannot_be_weighed_are_named():
    with pytest.raises(ConfigError, match="at least 2 samples"):
        diversity_weights(normal(1, 3))
    with pytest.raises(DataError, match="must be finite"):
        diversity_weights(torch.full((3, 2), torch.nan))


def test_the_default_stops_early_near_the_best_value():
    features = torch.cat([normal(600, 16) * 0.3 + 1, normal(60, 16, seed=1)])
    quick, best = (diversity_weights(features, make(strength=0.8)) for make in (WeightObjective, exact))
    assert quick.steps < best.steps and quick.steps <= 200
    assert quick.vendi == pytest.approx(best.vendi, rel=5e-3)
    free = diversity_weights(features, WeightObjective(strength=0.8, ess=0.01))
    assert free.history == sorted(free.history), "where the bound is not met, the objective rises at every step"
    assert len(diversity_weights(features, exact(strength=1.0, steps=7)).history) == 7
