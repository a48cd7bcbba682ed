"""Distances of the solutions of a constrained problem from its optimum, as published and truly."""

from typing import NamedTuple

from torch import Tensor

from lightning_gvae.devices import float64
from lightning_gvae.interfaces import ConstrainedProblem

__all__ = ["RunScores", "score_runs"]


class RunScores(NamedTuple):
    """One number a run, fp64 ``(R,)`` (``valid``: bool).

    Attributes:
        f: Objective.
        violation: Sum of the violations over the number of variables, the published criterion error.
        valid: Whether all criteria are met.
        paper_error_pct: Absolute difference from the published optimum, per cent of it.
        true_gap_pct: Difference from the smallest feasible objective, per cent of it; below 0 only where a criterion is
            violated.
    """

    f: Tensor
    violation: Tensor
    valid: Tensor
    paper_error_pct: Tensor
    true_gap_pct: Tensor


def score_runs(problem: ConstrainedProblem, objective: Tensor, violations: Tensor) -> RunScores:
    """Scores of one solution a run.

    Args:
        problem: With both optima.
        objective: ``(R,)``.
        violations: ``(R, C)``.

    >>> import torch
    >>> from lightning_gvae.problems.criteria import make_criterion
    >>> scores = score_runs(make_criterion("c1", 2), torch.tensor([4455.0]), torch.zeros(1, 1))
    >>> scores.paper_error_pct.tolist(), scores.valid.tolist()
    ([10.0], [True])
    """
    f, distances = float64(objective), float64(violations)
    published, true = problem.paper_optimum, problem.true_optimum
    return RunScores(
        f,
        distances.sum(1) / problem.dims,
        (distances <= 0).all(1),
        100 * (f - published).abs() / published,
        100 * (f - true) / true,
    )
