"""Sentences about what an evolution of the KL weight cannot do in a run: before its first step, and at its end."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from lightning_gvae.evolution.beta.fitness import LEAST_SCALE
from lightning_gvae.evolution.beta.genes import Gene

__all__ = ["generations_left", "measures_missed", "notes_before", "probe_reduced", "target_missed"]

SETTING = "callbacks.beta_evolution"


class Target(Protocol):
    """KL to steer to."""

    def at(self, step: int) -> float | None:
        """Nats a sample after so many optimiser steps; None while it is not known."""


def generations_left(interval: int, warmup: int, start: int, end: float) -> float:
    """Generations that will take place from the optimiser step ``start`` until before ``end``.

    >>> generations_left(250, 500, 0, 1000), generations_left(250, 600, 0, 700)
    (2, 0)
    """
    first = -(-max(warmup, start) // interval) * interval
    return max(0, math.ceil((end - first) / interval)) if math.isfinite(end) else math.inf


def notes_before(
    interval: int, warmup: int, start: int, end: float, beta: Sequence[float], target: Target | None
) -> list[str]:
    """Sentences about what settings cannot do in a run from the optimiser step ``start`` to ``end``.

    Args:
        interval: Optimiser steps between two generations.
        warmup: Optimiser steps before the first one.
        start: Optimiser steps done.
        end: Optimiser steps of the whole run; infinite if nothing limits them.
        beta: Values of the genes, for the message.
        target: KL to steer to.
    """
    if not math.isfinite(end) or start >= end:
        return []
    kept = ", ".join(f"{value:g}" for value in beta)
    if generations_left(interval, warmup, start, end) == 0:
        if warmup >= end:
            why = f"`{SETTING}.warmup` is {warmup} optimiser steps"
        else:
            why = f"`{SETTING}.interval` is {interval} optimiser steps (and `{SETTING}.warmup` {warmup})"
        note = (
            f"BetaEvolution: no generation will take place, the KL weight stays at {kept}: {why}, and the run ends at "
            f"step {end:.0f}; lower it or train for longer"
        )
        return [note]
    last = target.at(int(end) - 1) if target is not None else None
    final = getattr(target, "maximum", None)
    if final is not None and last is not None and last < final:
        note = (
            f"BetaEvolution: `{SETTING}.search.target` does not get to its maximum of {final:g} nats in this "
            "run: it is "
            f"{last:g} at step {end:.0f}, the last one; raise `increment`, lower `period`, or train for longer"
        )
        return [note]
    return []


def probe_reduced(wanted: int, probed: int) -> str | None:
    """Sentence about a probe that is smaller than was asked for; None if it is not."""
    if probed >= wanted:
        return None
    return (
        f"BetaEvolution: the probe is the {probed} images that training reads, `{SETTING}.probe_size` {wanted} is more "
        "than there are"
    )


def measures_missed(seen: Mapping[str, float], targets: Mapping[str, float], tolerance: float) -> str | None:
    """Sentence about set-points of measures that were not reached; None if all were.

    Args:
        seen: Measures in the end, by name.
        targets: What they were to be.
        tolerance: Half width of the band around a set-point, relative to it.
    """
    missed = [
        f"{name} {seen[name]:.3g} of {value:.3g}"
        for name, value in targets.items()
        if name in seen and abs(seen[name] - value) > tolerance * max(abs(value), LEAST_SCALE)
    ]
    if not missed:
        return None
    return f"BetaEvolution: set-points were not reached: {', '.join(missed)} (`{SETTING}.search.fitness.targets`)"


def target_missed(
    kl: float, target: float | None, tolerance: float, genes: Sequence[Gene], values: Sequence[float]
) -> str | None:
    """Sentence about a target that was not reached; None if it was, or if there is none.

    Args:
        kl: KL in the end, nats a sample.
        target: What it was to be.
        tolerance: Half width of the band around the target, relative to it.
        genes: What evolved.
        values: Their values in the end.
    """
    if target is None or abs(kl - target) <= tolerance * target:
        return None
    states = []
    for gene, value in zip(genes, values, strict=True):
        bound = next((b for b in (gene.low, gene.high) if math.isclose(value, b, rel_tol=0.01)), None)
        at = "at its bound" if bound is not None else f"within its bounds {gene.low:g} and {gene.high:g}"
        states.append(f"{gene.name} {value:.3g} {at}")
    return (
        f"BetaEvolution: the target was not reached: KL {kl:.3g} of {target:.3g} nats (`{SETTING}.search.target`), "
        f"{', '.join(states)}"
    )
