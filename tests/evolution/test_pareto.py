from itertools import pairwise

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.pareto import (
    contributions,
    contributions2d,
    hypervolume,
    hypervolume2d,
    knee,
    non_dominated,
)
from lightning_gvae.rng import numpy_stream

REFERENCE = (4.0, 12.0)
# A coarse grid makes ties, duplicates and points on and outside the reference.
GRID = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 13).map(float)), max_size=14)
REAL = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 13)), max_size=14)


def brute_force(points, reference=REFERENCE):
    """Area by the cells of the grid that the coordinates span."""
    inside = [p for p in points if p[0] < reference[0] and p[1] < reference[1]]
    xs = sorted({p[0] for p in inside} | {reference[0]})
    ys = sorted({p[1] for p in inside} | {reference[1]})
    return sum(
        (x1 - x0) * (y1 - y0)
        for x0, x1 in pairwise(xs)
        for y0, y1 in pairwise(ys)
        if any(p[0] <= x0 and p[1] <= y0 for p in inside)
    )


def test_values_by_hand():
    assert hypervolume2d([(1, 1), (2, 0.5)], REFERENCE) == 34.0
    assert contributions2d([(1, 1), (2, 0.5)], REFERENCE).tolist() == [11.0, 1.0]
    nested = [(1, 1), (2, 2), (3, 3)]
    assert contributions2d(nested, REFERENCE).tolist() == [13.0, 0.0, 0.0]
    assert contributions2d(nested, REFERENCE, ignore_dominated=True).tolist() == [33.0, 0.0, 0.0]
    assert contributions2d([(1, 1), (1, 1), (2, 0.5)], REFERENCE).tolist() == [0.0, 0.0, 1.0]
    # Ties in the first coordinate, which pygmo 2.20 gets wrong.
    assert contributions2d([(0, 2), (0, 0), (1, 0)], REFERENCE).tolist() == [0.0, 2.0, 0.0]


def test_nothing_and_points_outside():
    assert hypervolume([], REFERENCE) == 0.0
    assert contributions([], REFERENCE).shape == (0,)
    assert contributions([(4, 1), (1, 12), (9, 9)], REFERENCE).tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=300, deadline=None)
@given(points=GRID | REAL)
def test_hypervolume_equals_brute_force_and_pymoo(points):
    area = hypervolume2d(points, REFERENCE)
    assert area == pytest.approx(brute_force(points), abs=1e-9)
    if points:
        assert area == pytest.approx(float(HV(ref_point=np.array(REFERENCE))(np.array(points, float))), abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(points=GRID | REAL)
def test_contributions_are_what_is_lost_without_the_point(points):
    own = contributions2d(points, REFERENCE)
    whole = hypervolume2d(points, REFERENCE)
    lost = [whole - hypervolume2d(points[:i] + points[i + 1 :], REFERENCE) for i in range(len(points))]
    assert own == pytest.approx(lost, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(points=(GRID | REAL).filter(len), ignore=st.booleans())
def test_contributions_equal_moocore(points, ignore):
    table = np.array(points, dtype=float)
    theirs = moocore.hv_contributions(table, ref=REFERENCE, ignore_dominated=ignore)
    assert contributions2d(table, REFERENCE, ignore_dominated=ignore) == pytest.approx(theirs, abs=1e-9)


def test_many_points():
    points = numpy_stream(0, "points").random((20_000, 2)) * (5, 13)
    own = contributions2d(points, REFERENCE)
    assert own == pytest.approx(moocore.hv_contributions(points, ref=REFERENCE, ignore_dominated=False), abs=1e-9)
    assert (own > 0).sum() > 3


def test_three_objectives_equal_inclusion_and_exclusion():
    points = numpy_stream(1, "points").random((7, 3))
    reference = (1.0, 1.0, 1.0)
    total = 0.0
    for subset in range(1, 2**7):
        corner = points[[bool(subset >> i & 1) for i in range(7)]].max(0)
        total += (-1) ** (subset.bit_count() + 1) * float(np.prod(1 - corner))
    assert hypervolume(points, reference) == pytest.approx(total)
    lost = [total - hypervolume(np.delete(points, i, 0), reference) for i in range(7)]
    assert contributions(points, reference) == pytest.approx(lost)


def test_non_dominated_keeps_the_first_of_equal_points():
    points = [(1, 3), (2, 2), (2, 2), (3, 3), (3, 1)]
    assert non_dominated(points).tolist() == [True, True, False, False, True]
    assert non_dominated([]).tolist() == []


def test_the_knee_is_the_point_that_bulges_most():
    assert knee([(0, 10), (1, 2), (5, 1.5), (10, 0)]) == 1
    assert knee([(3, 3)]) == 0
    # Units do not matter.
    assert knee([(0, 1000), (0.1, 200), (0.5, 150), (1, 0)]) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hypervolume([(1.0, float("nan"))], REFERENCE), "`points` must be finite"),
        (lambda: hypervolume([(1.0, 2.0, 3.0)], REFERENCE), "one value for each of the 3 objectives"),
        (lambda: knee([]), "at least one point"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
