"""Compare models at equal KL: curves through their (rate, distortion) points."""

import math
from collections.abc import Iterable
from itertools import pairwise

from lightning_gvae.errors import ConfigError, DataError

__all__ = ["RateDistortionCurve"]


class RateDistortionCurve:
    r"""Points (R, D) of one method, one a trained model, for example over :math:`\beta`.

    R is the KL, D the reconstruction term, both in nats, summed (over latents, over pixels) and averaged over the same
    images. Lower is better for both: ``-ELBO = R + D``, and the models of one ELBO lie on a line of slope -1. D may be
    negative (densities), R not. Two curves compare only with one likelihood and one data set.

    Points are kept sorted by R; of several points at one R the lowest D counts. Between points D is linear in R, which
    over the convex hull is what switching at random between two models would reach.

    Args:
        points: Pairs (R, D).

    Raises:
        DataError: A value is not finite or a rate is negative.

    References:
        Alemi et al., Fixing a Broken ELBO, 2018, section 3.

    >>> curve = RateDistortionCurve([(0, 10), (2, 6), (4, 4)])
    >>> curve.distortion_at(1)
    8.0
    >>> curve.area(0, 4)
    26.0
    """

    def __init__(self, points: Iterable[tuple[float, float]] = ()) -> None:
        self._points: dict[float, float] = {}
        for rate, distortion in points:
            self.add(rate, distortion)

    def add(self, rate: float, distortion: float) -> None:
        """Add one model, nats."""
        rate, distortion = float(rate), float(distortion)
        if not (math.isfinite(rate) and math.isfinite(distortion) and rate >= 0):
            raise DataError(
                f"a point needs a finite rate of 0 or more and a finite distortion, got ({rate}, {distortion})."
            )
        self._points[rate] = min(distortion, self._points.get(rate, math.inf))

    @property
    def points(self) -> list[tuple[float, float]]:
        """Pairs (R, D) by rising R."""
        return sorted(self._points.items())

    def pareto(self) -> "RateDistortionCurve":
        """The points that no other one beats in both R and D: D falls strictly as R rises."""
        kept: list[tuple[float, float]] = []
        for rate, distortion in self.points:
            if not kept or distortion < kept[-1][1]:
                kept.append((rate, distortion))
        return RateDistortionCurve(kept)

    def hull(self) -> "RateDistortionCurve":
        """The lower convex hull of the Pareto points: D falls ever more slowly as R rises."""
        kept: list[tuple[float, float]] = []
        for point in self.pareto().points:
            while len(kept) > 1 and not _convex(kept[-2], kept[-1], point):
                kept.pop()
            kept.append(point)
        return RateDistortionCurve(kept)

    def distortion_at(self, rate: float) -> float:
        """D at a given R, linear between the neighbouring points. Nats.

        Raises:
            DataError: ``rate`` lies outside the points' range, or there are no points.
        """
        self._check_inside(rate)
        points = self.points
        for left, right in pairwise(points):
            if left[0] <= rate <= right[0]:
                weight = (rate - left[0]) / (right[0] - left[0])
                # This form returns the points themselves exactly at both ends.
                return (1 - weight) * left[1] + weight * right[1]
        return points[0][1]

    def area(self, low: float, high: float) -> float:
        """Integral of D over R from ``low`` to ``high``, nats squared; divided by ``high - low`` it is the mean D.

        Raises:
            ConfigError: ``low`` is not below ``high``.
            DataError: The range is not inside the points' range, or there are no points.
        """
        if not low < high:
            raise ConfigError(f"`low` must be below `high`, got low={low}, high={high}.")
        self._check_inside(low)
        self._check_inside(high)
        inner = [point for point in self.points if low < point[0] < high]
        corners = [(low, self.distortion_at(low)), *inner, (high, self.distortion_at(high))]
        return math.fsum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in pairwise(corners))

    def _check_inside(self, rate: float) -> None:
        if not self._points:
            raise DataError("the curve has no points; add the (rate, distortion) of at least one model.")
        low, high = min(self._points), max(self._points)
        if not low <= rate <= high:
            raise DataError(
                f"the rate {rate:g} is outside the curve, which runs from {low:g} to {high:g} nats; choose a "
                "rate inside "
                "or train models on both sides of it."
            )


def _convex(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether ``middle`` lies strictly below the line from ``left`` to ``right``."""
    (r0, d0), (r1, d1), (r2, d2) = left, middle, right
    return (d1 - d0) * (r2 - r0) < (d2 - d0) * (r1 - r0)
