"""pymoo's genetic algorithm as engine of a latent search: elitist, SBX and polynomial mutation, Deb's rules."""

from typing import Any

import numpy as np
import torch
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.latent.engines.run_history import RunHistory
from lightning_gvae.evolution.latent.result import SearchResult
from lightning_gvae.evolution.latent.scoring import Scorer
from lightning_gvae.evolution.latent.settings import GASettings
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.rng import stream_key

__all__ = ["run_pymoo"]


def run_pymoo(scorer: Scorer, low: Tensor, high: Tensor, runs: Tensor, settings: GASettings, seed: int) -> SearchResult:
    """One run after the other; each generation is decoded at once. Arguments as for the tensor engine.

    Raises:
        ConfigError: a fitness other than Deb's rules, the only ones that pymoo compares by.
    """
    if settings.fitness != "deb":
        raise ConfigError(f"engine 'pymoo' compares by Deb's rules: `fitness` must be deb, got {settings.fitness!r}")
    record = RunHistory(scorer, low, high, runs, settings)
    with preserved_rng(low.device):
        for run in runs.tolist():
            minimize(
                _Latents(record, low, high),
                GA(pop_size=settings.population, n_offsprings=settings.population),
                ("n_gen", settings.generations + 1),  # the initial population counts
                seed=stream_key(seed, "latent/pymoo", run) % 2**32,
                callback=lambda algorithm: record.survivors(*_population(algorithm, low)),
            )
            record.end_run()
    return record.result()


class _Latents(Problem):
    """The box of latents; the total violation is the one constraint, so that criteria weigh as they do elsewhere."""

    def __init__(self, record: RunHistory, low: Tensor, high: Tensor) -> None:
        super().__init__(
            len(low), n_obj=1, n_ieq_constr=1, xl=low.cpu().double().numpy(), xu=high.cpu().double().numpy()
        )
        self._record, self._number = record, 0

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        objective, violation = self._record.evaluate(torch.from_numpy(x), self._number)
        self._number += 1
        out["F"], out["G"] = objective.cpu().double().numpy()[:, None], violation.cpu().double().numpy()[:, None]


def _population(algorithm: Any, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    latents, objective, violation = (torch.from_numpy(column) for column in algorithm.pop.get("X", "F", "G"))
    return latents.to(low), objective[:, 0], violation
