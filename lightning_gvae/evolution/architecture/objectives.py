"""Objectives of an architecture search, by name; all are minimised."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.candidate_trainers import Result

__all__ = ["OBJECTIVES", "SearchObjective", "objectives_by_name", "row"]

DIGITS = 6  # of what algorithms are told: the last bits depend on threads and processes, decisions must not


@dataclass(frozen=True)
class SearchObjective:
    """A number to minimise.

    Args:
        name: How it is asked for.
        label: With its unit, for figures.
        cap: Largest value; candidates that were not trained have it.
        reference: Its entry of the default reference point, behind the cap or at it.
        value: From the numbers of a trained candidate.
        best: The least value that it can have, or None if it is known without training.
        needs: Names of the numbers that it is made of.
    """

    name: str
    label: str
    cap: float
    reference: float
    value: Callable[[Mapping[str, float]], float]
    best: float | None = None
    needs: tuple[str, ...] = ()


OBJECTIVES = {
    objective.name: objective
    for objective in (
        # Caps and reference point of the paper, appendix B.
        SearchObjective("loss", "Cross-entropy (nats per pixel)", 4.0, 4.0, lambda v: v["loss"], 0.0, ("loss",)),
        SearchObjective("loc", "Level of compression (log10 of the code's size)", 5.0, 12.0, lambda v: v["loc"]),
        SearchObjective("macs", "MACs (log10)", 12.0, 13.0, lambda v: math.log10(v["macs"])),
        SearchObjective("parameters", "Parameters (log10)", 9.0, 10.0, lambda v: math.log10(v["parameters"])),
        SearchObjective(
            "probe_error", "Error of the linear probe", 1.0, 1.1, lambda v: 1 - v["probe_accuracy"], 0.0,
            ("probe_accuracy",),
        ),
        # Of reconstructions: an autoencoder without a prior has no samples.
        SearchObjective(
            "fid", "FID of reconstructions (log10 of 1 + FID)", 5.0, 6.0, lambda v: math.log10(1 + max(v["fid"], 0.0)),
            0.0, ("fid",),
        ),
    )
}  # fmt: skip


def objectives_by_name(names: Sequence[str]) -> tuple[SearchObjective, ...]:
    """Objectives in the order of ``names``.

    Raises:
        ConfigError: A name is unknown or comes twice, or there are fewer than two.
    """
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown:
        raise ConfigError(f"`objectives` may name {', '.join(OBJECTIVES)}, got {', '.join(map(repr, unknown))}")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"`objectives` must name at least two different ones, got {list(names)}")
    return tuple(OBJECTIVES[name] for name in names)


def row(result: Result, objectives: Sequence[SearchObjective]) -> list[float]:
    """Objectives of a candidate: capped and rounded; at their caps if it was not trained or a number is not finite."""
    caps = [objective.cap for objective in objectives]
    if result.status != "trained":
        return caps
    values = [objective.value(result.values) for objective in objectives]
    if not all(math.isfinite(value) for value in values):
        return caps
    return [round(min(value, cap), DIGITS) for value, cap in zip(values, caps, strict=True)]
