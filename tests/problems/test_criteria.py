"""C1 to C5 against hand values, SciPy's optima and the geometry of their feasible sets."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.optimize import minimize

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.criteria import c3_violation, c5_violation, foxholes, make_criterion


def points(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_violations_are_those_of_hand_calculation():
    assert make_criterion("c1", 2).violations(points([45, 45], [40, 20], [50, 50])).tolist() == [[0], [30], [0]]
    assert make_criterion("c2", 3).violations(points([0, 9, 18], [0, 5, 20], [0, -1, 8])).tolist() == [[0], [8], [9]]
    assert make_criterion("c3", 2).violations(points([4, 4], [4, -2], [3.5, -2.75])).tolist() == [[3600], [0], [0]]
    c4 = make_criterion("c4")
    assert c4.violations(points([40, 40, -45, 40], [10, 20, 30, 4])).tolist() == [[0, 0, 0, 0], [50, 75, 46, 39]]
    assert c4.violations(points([0, 0, 0, -10])).tolist() == [[80, 45, 70, 3]]


def test_the_published_reference_point_of_c3_is_infeasible():
    for dims in range(2, 11):
        assert make_criterion("c3", dims).violations(torch.full((1, dims), 4.0)).item() == 3600 * (dims - 1)


def test_order_of_c4_is_the_order_of_the_columns():
    x = torch.rand(50, 4, dtype=torch.float64) * 100 - 50
    whole = make_criterion("c4").violations(x)
    for order in [(1, 2), (2, 1), (1, 2, 4, 3), (4,)]:
        criterion = make_criterion("c4", order=order)
        assert criterion.count == len(order)
        assert torch.equal(criterion.violations(x), whole[:, [number - 1 for number in order]])


def test_published_optima():
    assert make_criterion("c1", 7).paper_optimum == 7 * 2025
    published = [32, 128, 320, 640, 1120, 1792, 2688, 3840, 5280]
    assert [make_criterion("c2", dims).paper_optimum for dims in range(2, 11)] == published
    assert make_criterion("c3", 10).paper_optimum == 160
    orders = {(1, 2): 5225, (2, 1): 5225, (1, 2, 3): 6825, (1, 2, 4): 6825, (1, 2, 4, 3): 6825}
    assert {order: make_criterion("c4", order=order).paper_optimum for order in orders} == orders
    assert math.isnan(make_criterion("c4", order=(3,)).paper_optimum)


def solve(dims, constraints, starts):
    """Smallest sum of squares that multi-start SLSQP finds; scaled, its tolerances are absolute."""
    found = []
    for start in starts:
        result = minimize(
            lambda x: (x @ x) / 1000,
            start,
            jac=lambda x: x / 500,
            bounds=[(-50, 50)] * dims,
            constraints=[{"type": "ineq", "fun": constraint} for constraint in constraints],
            options={"maxiter": 500, "ftol": 1e-13},
        )
        if result.success and min(constraint(result.x) for constraint in constraints) > -1e-7:
            found.append(1000 * result.fun)
    return min(found)


def test_true_optima_of_c1_and_c2():
    rng = np.random.default_rng(0)
    for dims in (1, 4, 10):
        best = solve(dims, [lambda x: x.sum() - 45 * len(x)], rng.uniform(-50, 50, (3, dims)))
        assert best == pytest.approx(make_criterion("c1", dims).true_optimum, rel=1e-6)
    for dims in (2, 5, 10):
        spacing = [lambda x, i=i: x[i + 1] - x[i] - 8 for i in range(dims - 1)]
        best = solve(dims, spacing, rng.uniform(-50, 50, (3, dims)))
        assert best == pytest.approx(make_criterion("c2", dims).true_optimum, rel=1e-6)


@pytest.mark.parametrize("dims", range(2, 11))
def test_true_optimum_of_c3(dims):
    def valley(x):
        return -(100 * ((x[:-1] - 3) ** 2 - x[1:] - 3) ** 2 + (x[:-1] - 4)).sum()

    best = solve(dims, [valley], np.random.default_rng(dims).uniform(-3, 5, (12, dims)))
    assert best == pytest.approx(make_criterion("c3", dims).true_optimum, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_true_optima_of_c4(count):
    rules = {
        1: [lambda x: x[0] + x[1] - 80],
        2: [lambda x: -45 - x[2]],
        3: [lambda x: x[1] / 2 + x[3] - 60],
        4: [lambda x: x[2] + x[3] + 7, lambda x: -5 - x[2] - x[3]],
    }
    for order in itertools.combinations(rules, count):
        constraints = [rule for number in order for rule in rules[number]]
        best = solve(4, constraints, np.random.default_rng(count).uniform(-50, 50, (3, 4)))
        assert best == pytest.approx(make_criterion("c4", order=order).true_optimum, rel=1e-6), order


def test_true_optimum_of_c5():
    def wall(x):
        y = torch.from_numpy(np.asarray(x))
        c, s = math.cos(math.radians(33)), math.sin(math.radians(33))  # turned by -33 degrees
        return 445 - foxholes(torch.stack([0.39 * (c * y[0] + s * y[1]) + 9, 0.39 * (c * y[1] - s * y[0]) - 3])).item()

    best = solve(2, [wall], np.random.default_rng(0).uniform(3, 9, (20, 2)))
    c5 = make_criterion("c5")
    assert best == pytest.approx(c5.true_optimum, rel=1e-5)
    assert c5.objective(points([5.9, 5.28535])).item() == pytest.approx(c5.paper_optimum, abs=1e-3)
    assert c5.violations(points([5.9, 5.28535])).item() == 0


def test_c5_has_nine_islands_of_a_quarter_of_the_box():
    axis = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    feasible = (make_criterion("c5").violations(grid)[..., 0] == 0).numpy()
    assert ndimage.label(feasible)[1] == 9
    assert feasible.mean() == pytest.approx(0.245, abs=0.005)
    assert 445 + c5_violation(points([0.0, 0.0])).item() == pytest.approx(497.3, abs=0.1)
    assert foxholes(points([-32.0, -32.0])).item() == pytest.approx(0.998, abs=1e-3)  # De Jong's minimum


# Shares of uniform points: source, numerical integration of the definitions.
FRACTIONS = {
    ("c1", 1, None): 5.0e-2,
    ("c1", 2, None): 5.0e-3,
    ("c2", 2, None): 1.8e-2,
    ("c2", 3, None): 3.2e-4,
    ("c3", 2, None): 3.3e-4,
    ("c4", None, (1,)): 0.020,
    ("c4", None, (2,)): 0.050,
    ("c4", None, (3,)): 0.0225,
    ("c4", None, (4,)): 0.0187,
}


@pytest.mark.parametrize(("case", "fraction"), FRACTIONS.items(), ids=str)
def test_share_of_uniform_points_that_is_feasible(case, fraction):
    name, dims, order = case
    criterion = make_criterion(name, dims, order)
    generator = torch.Generator().manual_seed(3)
    count = 2_000_000
    x = torch.rand(count, criterion.dims, generator=generator) * 100 - 50
    share = (criterion.violations(x) == 0).all(1).double().mean().item()
    assert abs(share - fraction) < 4 * math.sqrt(fraction / count) + 0.02 * fraction


def test_batches_of_any_rank_and_precision():
    for name, dims in [("c1", 3), ("c2", 3), ("c3", 3), ("c4", None), ("c5", None)]:
        criterion = make_criterion(name, dims)
        x = torch.rand(6, 7, criterion.dims) * 100 - 50
        assert criterion.objective(x).shape == (6, 7)
        assert criterion.violations(x).shape == (6, 7, criterion.count)
        assert criterion.violations(x).dtype == torch.float32
        single = criterion.violations(x.double()[2, 3])
        torch.testing.assert_close(criterion.violations(x)[2, 3].double(), single, rtol=1e-4, atol=1e-3)
        assert (criterion.violations(x) >= 0).all()
        assert torch.equal(pickle.loads(pickle.dumps(criterion)).violations(x), criterion.violations(x))  # noqa: S301


def test_c3_sums_before_it_clips():
    first, second = points([4.5, -0.75]), points([-0.75, 11.0625])
    assert c3_violation(first).item() == 0.5  # (4.5 - 3)^2 = -0.75 + 3: only the excess over 4 is left
    assert c3_violation(second).item() == 0
    assert c3_violation(points([4.5, -0.75, 11.0625])).item() == 0  # 0.5 - 4.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("c6",), "`name` must be one of c1, c2, c3, c4, c5, got 'c6'"),
        (("c1",), "`dims` of c1 must be an integer from 1 to 10, got None"),
        (("c2", 1), "`dims` of c2 must be an integer from 2 to 10, got 1"),
        (("c1", 2.0), "from 1 to 10, got 2.0"),
        (("c4", 3), "`dims` of c4 must be 4, got 3"),
        (("c5", 3), "`dims` of c5 must be 2, got 3"),
        (("c4", None, (1, 1)), "`order` must name different criteria"),
        (("c4", None, (0, 5)), "got \\(0, 5\\)"),
        (("c4", None, ()), "at least one"),
        (("c1", 3, (1,)), "`order` belongs to c4"),
    ],
)
def test_what_there_is_not(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_criterion(*arguments)


def test_points_of_another_width():
    with pytest.raises(ConfigError, match="points of c1 with 3 variables in its last dimension, got shape \\(4, 2\\)"):
        make_criterion("c1", 3).objective(torch.zeros(4, 2))
