"""Measures of a trained candidate: numbers by name, besides the loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import lightning as L

from lightning_gvae.callbacks.architecture_evolution.data import searched_data
from lightning_gvae.callbacks.architecture_evolution.fid import ReconstructionFid, shared_space
from lightning_gvae.callbacks.architecture_evolution.plan import SearchPlan
from lightning_gvae.callbacks.architecture_evolution.probes import Probes
from lightning_gvae.callbacks.architecture_evolution.training import CandidateData
from lightning_gvae.evolution.architecture.group import SearchGroup

__all__ = ["Measure", "Measures", "NamedMeasure", "needed_measures"]

Measure = Callable[[L.LightningModule, CandidateData, int], Mapping[str, float]]


class NamedMeasure(Protocol):
    """Measure that says how its number is called."""

    name: str


@dataclass(frozen=True)
class Measures:
    """Several measures as one.

    Args:
        parts: Each gives numbers of a trained module by name.
    """

    parts: tuple[Measure, ...]

    def __call__(self, module: L.LightningModule, data: CandidateData, seed: int) -> dict[str, float]:
        """The numbers of all of them."""
        return {name: value for part in self.parts for name, value in part(module, data, seed).items()}


def needed_measures(
    plan: SearchPlan,
    trainer: L.Trainer,
    group: SearchGroup,
    data: CandidateData,
    threads: int,
    cache_dir: str | Path | None,
) -> tuple[Measures | None, dict[str, Any]]:
    """Measures that the objectives need, None if they need the loss alone, and what their numbers depend on.

    Args:
        plan: Of the search.
        trainer: Of the run.
        group: The ranks.
        data: Data of the candidates.
        threads: Of torch on the CPU.
        cache_dir: Folder of the caches; None keeps nothing.

    Raises:
        ConfigError: The data are too few for an FID, or lack labels.
    """
    measures: list[Measure] = [Probes(mlp=False, on="score")] if "probe_accuracy" in plan.measured else []
    settings: dict[str, Any] = {}
    if "fid" in plan.measured:
        space = shared_space(group, searched_data(trainer), cache_dir, trainer.strategy.root_device, threads)
        own = ReconstructionFid(space)
        for measure in (own, replace(own, on="test")):
            measure.check(data)
        measures.append(own)
        settings["feature_space"] = str(space.space)
    return Measures(tuple(measures)) if measures else None, settings
