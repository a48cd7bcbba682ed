"""Figures of the collapse study in one dimension: over generations, and against the number of points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_gvae.collapse.gaussian import ESTIMATORS, Chains
from lightning_gvae.collapse.policies import Policy
from lightning_gvae.collapse.theory import known_moments
from lightning_gvae.plots.collapse import Band, band_panels
from lightning_gvae.plots.style import save

__all__ = ["BAND", "Simulated", "draw_gaussian"]

BAND = (0.05, 0.95)
# What is shown of each estimator: that of which most closed forms are known.
SHOWN = {"unbiased": ("deviation", "standard deviation"), "mle": ("variance", "variance")}
Simulated = dict[tuple[Policy, str, int], Chains]


def draw_gaussian(
    found: Simulated, points: Sequence[int], at: Sequence[int], folder: Path
) -> list[tuple[str, str, Path]]:
    """Draw and save all figures.

    Args:
        found: Chains by policy, estimator and number of points.
        points: Numbers of points M.
        at: Generations at which they are drawn against M.
        folder: Where to save.

    Returns:
        Title, caption and file of each.
    """
    policies = list(dict.fromkeys(policy for policy, _, _ in found))
    drawn = []
    for estimator in ESTIMATORS:
        name = SHOWN[estimator][1]
        panels = {p.label: [_over_generations(found, p, estimator, count) for count in points] for p in policies}
        title = f"Fitted {name} over generations, {estimator}"
        path = folder / f"generations_{estimator}.png"
        save(band_panels(panels, title, "Generation"), path)
        drawn.append((title, "Mean over the chains; the band holds the middle 90 % of them.", path))
        for generation in at:
            shown = {
                name: [_over_points(found, p, estimator, generation, points) for p in policies],
                "mean, root mean square": [_means(found, p, estimator, generation, points) for p in policies],
            }
            title = f"Against the number of points, after {generation} generations, {estimator}"
            path = folder / f"points_{estimator}_{generation:03d}.png"
            save(band_panels(shown, title, "Points M", log_x=True, log_y=["mean, root mean square"]), path)
            caption = "Left: mean over the chains, the band holds the middle 90 %. Right: root mean square, no band."
            drawn.append((title, caption, path))
    return drawn


def _over_generations(found: Simulated, policy: Policy, estimator: str, points: int) -> Band:
    values = _shown(found[policy, estimator, points], estimator)
    low, high = np.quantile(values, BAND, axis=1)
    expected = _known(policy, estimator, points, len(values) - 1).get(SHOWN[estimator][0])
    return Band(f"M = {points:,}", np.arange(len(values)), values.mean(1), low, high, expected)


def _over_points(found: Simulated, policy: Policy, estimator: str, at: int, points: Sequence[int]) -> Band:
    order = sorted(points)
    values = [_shown(found[policy, estimator, count], estimator)[at] for count in order]
    low, high = np.array([np.quantile(row, BAND) for row in values]).T
    known = [_known(policy, estimator, count, at).get(SHOWN[estimator][0]) for count in order]
    closed = None if known[0] is None else np.array([row[at] for row in known if row is not None])
    return Band(policy.label, np.array(order), np.array([row.mean() for row in values]), low, high, closed)


def _means(found: Simulated, policy: Policy, estimator: str, at: int, points: Sequence[int]) -> Band:
    order = sorted(points)
    centres = np.sqrt([found[policy, estimator, count].squared_mean().value[at] for count in order])
    known = [_known(policy, estimator, count, at).get("squared_mean") for count in order]
    closed = None if known[0] is None else np.sqrt([row[at] for row in known if row is not None])
    return Band(policy.label, np.array(order), centres, centres, centres, closed)


def _shown(chains: Chains, estimator: str) -> np.ndarray:
    return np.sqrt(chains.variances) if SHOWN[estimator][0] == "deviation" else chains.variances


def _known(policy: Policy, estimator: str, points: int, generations: int) -> dict[str, np.ndarray]:
    return known_moments(policy.name, points, generations, estimator=estimator, fresh=policy.fresh)
