"""Rate-distortion curves by hand."""

import pytest

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.metrics.rate_distortion import RateDistortionCurve

POINTS = [(10, 80), (0, 200), (20, 60), (5, 120), (12, 90), (20, 70), (30, 60)]


def test_points_are_sorted_and_the_lowest_of_one_rate_counts():
    assert RateDistortionCurve(POINTS).points == [(0, 200), (5, 120), (10, 80), (12, 90), (20, 60), (30, 60)]


def test_pareto_drops_what_another_point_beats():
    assert RateDistortionCurve(POINTS).pareto().points == [(0, 200), (5, 120), (10, 80), (20, 60)]


def test_hull_drops_what_a_mixture_of_two_points_beats():
    curve = RateDistortionCurve([(0, 100), (1, 95), (2, 50), (3, 40), (4, 30), (5, 29), (6, 35)])
    # (1, 95) lies above the line to (2, 50); (3, 40) on a line adds nothing; (6, 35) is dominated.
    assert curve.hull().points == [(0, 100), (2, 50), (4, 30), (5, 29)]


def test_hull_lies_below_every_point_and_is_convex():
    curve = RateDistortionCurve(POINTS)
    hull = curve.hull()
    for rate, distortion in curve.points:
        if rate <= hull.points[-1][0]:
            assert hull.distortion_at(rate) <= distortion
    slopes = [(d1 - d0) / (r1 - r0) for (r0, d0), (r1, d1) in zip(hull.points, hull.points[1:], strict=False)]
    assert slopes == sorted(slopes)
    assert hull.hull().points == hull.points


@pytest.mark.parametrize(("rate", "expected"), [(0, 200), (2.5, 160), (5, 120), (15, 78.75), (30, 60)])
def test_distortion_is_linear_between_neighbours(rate, expected):
    assert RateDistortionCurve(POINTS).distortion_at(rate) == pytest.approx(expected)


def test_area_is_the_integral_of_the_lines():
    curve = RateDistortionCurve([(0, 10), (2, 6), (4, 4)])
    assert curve.area(0, 4) == pytest.approx(16 + 10)
    assert curve.area(1, 3) == pytest.approx(7 + 5.5)
    assert curve.area(0.5, 1.5) == pytest.approx(8)
    assert curve.area(0, 1) + curve.area(1, 4) == pytest.approx(curve.area(0, 4))


def test_one_point_answers_at_its_rate_only():
    curve = RateDistortionCurve([(3, -7)])
    assert curve.distortion_at(3) == -7
    assert curve.pareto().points == curve.hull().points == [(3, -7)]
    with pytest.raises(DataError, match="runs from 3 to 3 nats"):
        curve.distortion_at(3.1)


def test_bad_arguments_are_named():
    curve = RateDistortionCurve(POINTS)
    for rate in (-1, 31, float("nan")):
        with pytest.raises(DataError, match="outside the curve, which runs from 0 to 30 nats"):
            curve.distortion_at(rate)
    with pytest.raises(DataError, match="outside the curve"):
        curve.area(0, 31)
    with pytest.raises(ConfigError, match="`low` must be below `high`"):
        curve.area(4, 4)
    with pytest.raises(DataError, match="no points"):
        RateDistortionCurve().distortion_at(1)
    for point in ((-1, 3), (float("nan"), 3), (3, float("inf"))):
        with pytest.raises(DataError, match="finite rate of 0 or more"):
            curve.add(*point)
    assert len(curve.points) == 6
