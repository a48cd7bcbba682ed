"""Rates and distortions of a study's runs: end points, ways through the plane, and the curve of constant weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from lightning_gvae.plots.comparison import information_plane
from lightning_gvae.studies.learning_curves import Arms, Drawn, validations

__all__ = ["FIXED", "fixed_at_target", "mean_path", "plane", "points"]

FIXED = "fixed"  # name of the curve through the arms of constant weights


def fixed_at_target(arms: Arms, sweep: Sequence[str], target: float) -> list[dict[str, Any]]:
    """Distortion at the target on each seed's curve through the arms of constant weights; NaN outside.

    The curve goes through every point with the slope that belongs to it, ``-beta``: straight lines would lie above
    a convex curve and make constant weights look worse than they are.
    """
    results = []
    for runs in zip(*(arms[arm] for arm in sweep), strict=True):
        rows = [[run["metrics"][name] for name in ("test/kl", "test/recon", "beta")] for run in runs]
        rate, distortion, beta = np.array(sorted(rows)).T
        inside = rate[0] <= target <= rate[-1] and len(rate) > 1
        at_target = float(CubicHermiteSpline(rate, distortion, -beta)(target)) if inside else float("nan")
        results.append({"arm": FIXED, "seed": runs[0]["seed"], "metrics": {"at_target": at_target}})
    return results


def points(group: Sequence[dict[str, Any]], part: str) -> np.ndarray:
    """Rate and distortion at the end of every run, ``(R, 2)``, on the images of ``test`` or ``val``."""
    if part == "val":
        return np.array([validations(result)[-1] for result in group])
    return np.array([[result["metrics"]["test/kl"], result["metrics"]["test/recon"]] for result in group])


def mean_path(group: Sequence[dict[str, Any]]) -> np.ndarray:
    """Rate and distortion over training, ``(T, 2)``: mean over the runs, as far as the shortest of them goes."""
    paths = [validations(result) for result in group]
    return np.mean([path[: min(map(len, paths))] for path in paths], axis=0)


def plane(arms: Arms, target: float) -> list[Drawn]:
    """The plane of rate and distortion with the way of every arm through it; none without two validations a run."""
    paths = {
        arm: mean_path(group)
        for arm, group in arms.items()
        if all(len(result["curves"].get("val/kl", {"steps": ()})["steps"]) > 1 for result in group)
    }
    if not paths:
        return []
    caption = "Validations from the first (thin) to the last (marker), mean over the seeds; dashed: the target."
    return [("information_plane", "Rate and distortion over training", caption, information_plane(paths, target))]
