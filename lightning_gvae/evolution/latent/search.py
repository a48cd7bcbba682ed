"""Search in the latent space of a trained decoder: a genetic algorithm over latents, scored on what they decode to."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, checked_count
from lightning_gvae.evolution.latent.engines.tensor import GAGeneration, TensorGA
from lightning_gvae.evolution.latent.result import HISTORY, Best, SearchResult, merge
from lightning_gvae.evolution.latent.scoring import Decode, NanPolicy, Scorer
from lightning_gvae.evolution.latent.settings import GASettings, Problem, check_bounds

__all__ = [
    "HISTORY",
    "Best",
    "Decode",
    "Engine",
    "GAGeneration",
    "GASettings",
    "NanPolicy",
    "Problem",
    "SearchResult",
    "latent_bounds",
    "merge",
    "search",
    "share_of_runs",
]

Engine = Literal["torch", "deap", "pymoo"]


@torch.no_grad()
def search(
    decode: Decode,
    problem: Problem,
    low: Tensor,
    high: Tensor,
    runs: int = 1,
    settings: GASettings | None = None,
    seed: int = 0,
    engine: Engine = "torch",
    chunk_size: int | None = None,
    stop_when_feasible: bool = False,
    on_generation: Callable[[GAGeneration], None] | None = None,
    state: Mapping[str, Any] | None = None,
    shard: tuple[int, int] = (0, 1),
    nan: NanPolicy = "error",
) -> SearchResult:
    """Run a genetic algorithm several times over, independently.

    With the engine ``torch`` all runs share one call of the decoder a generation (``generations + 1`` calls in all,
    if ``chunk_size`` leaves them whole). Run r draws the same numbers whatever the other runs and wherever it is
    computed. No global generator is touched.

    Args:
        decode: From latents ``(N, L)`` to points ``(N, ...)``; no gradients are taken.
        problem: Objective (minimised) and criteria of decoded points.
        low: Lower bounds ``(L,)``; type and device of the latents.
        high: Upper bounds ``(L,)``.
        runs: Independent runs.
        settings: Of the algorithm; default :class:`GASettings`.
        seed: Of every draw.
        engine: ``"torch"``; ``"deap"`` and ``"pymoo"`` do one run after the other, decoding a generation at a time.
            pymoo's algorithm is its own (elitist, SBX, polynomial mutation, Deb's rules): of the settings it takes the
            numbers of individuals and generations.
        chunk_size: Latents decoded at a time; ``None`` for all.
        stop_when_feasible: A run that has a valid individual after any generation ends with it as its final one, and
            the others go on without it. The way in which data are made, with :meth:`GASettings.generator`.
        on_generation: Called with every generation; engine ``torch`` only.
        state: What ``GAGeneration.state()`` gave, to go on from there; the outcome is that of an uninterrupted search.
        shard: This process's number and the number of processes that share the runs out; each does a slice, and
            :func:`merge` puts the results together.
        nan: Whether a point whose objective or violation is NaN is an ``"error"`` or the ``"worst"``.

    Returns:
        The result of this process's runs.

    Raises:
        ConfigError: bounds that enclose no box, a number out of range, a decoder or a problem that does not give one
            row a latent, or something asked for that the engine cannot do.
        NonFiniteError: the problem gives NaN.
        CheckpointError: the state belongs to another search.

    >>> class Sphere:
    ...     def objective(self, x): return x.square().sum(1)
    ...     def violations(self, x): return (0.5 - x[:, :1]).clamp(min=0)
    >>> low = torch.full((3,), -2.0)
    >>> result = search(lambda z: z, Sphere(), low, -low, runs=10, seed=1)
    >>> bool(result.final.valid.all()), bool((result.final.objective < 0.6).all()), result.decodes
    (True, True, 51)
    """
    settings = GASettings() if settings is None else settings
    check_bounds(low, high)
    checked_count("runs", runs)
    numbers = share_of_runs(runs, shard)
    scorer = Scorer(decode, problem, chunk_size, nan)
    if engine == "torch":
        return TensorGA(scorer, low, high, numbers, settings, seed, stop_when_feasible).run(on_generation, state)
    if engine not in ("deap", "pymoo"):
        raise ConfigError(f"`engine` must be torch, deap or pymoo, got {engine!r}")
    unsupported = {
        "stop_when_feasible": stop_when_feasible,
        "on_generation": on_generation is not None,
        "state": state is not None,
    }
    if any(unsupported.values()):
        names = ", ".join(f"`{name}`" for name, used in unsupported.items() if used)
        raise ConfigError(f"engine {engine!r} does not know {names}; use engine 'torch'")
    if engine == "deap":
        from lightning_gvae.evolution.latent.engines.deap import run_deap

        return run_deap(scorer, low, high, numbers, settings, seed)
    from lightning_gvae.evolution.latent.engines.pymoo import run_pymoo

    return run_pymoo(scorer, low, high, numbers, settings, seed)


def share_of_runs(runs: int, shard: tuple[int, int]) -> Tensor:
    """Numbers of the runs that process ``shard[0]`` of ``shard[1]`` does: a slice, as even as can be.

    Raises:
        ConfigError: not a process number below the number of processes, or fewer runs than processes.

    >>> [share_of_runs(5, (rank, 2)).tolist() for rank in (0, 1)]
    [[0, 1], [2, 3, 4]]
    """
    rank, world = shard
    if not 0 <= rank < world:
        raise ConfigError(f"`shard` must be (process, processes) with 0 <= process < processes, got {shard}")
    if runs < world:
        raise ConfigError(f"`runs` must be at least the number of processes that share them, {world}, got {runs}")
    return torch.arange(rank * runs // world, (rank + 1) * runs // world)


def latent_bounds(means: Tensor, stds: Tensor, least: float = 2.0, most: float = 5.0) -> tuple[Tensor, Tensor]:
    """Box in which the decoder has been trained: where the aggregate posterior lies, latent by latent.

    From the 0.5 % quantile of the posterior means less a mean standard deviation to the 99.5 % quantile plus one, but
    at least ``[-least, least]`` and at most ``[-most, most]``. The usual box of [-2, 2] can cut off solutions.

    Args:
        means: Posterior means ``(N, L)`` of training data.
        stds: Posterior standard deviations ``(N, L)``.
        least: Half width that every latent gets, positive.
        most: Half width beyond which the prior has next to no mass, at least ``least``.

    Returns:
        Lower and upper bounds ``(L,)``.

    Raises:
        ConfigError: no data, shapes that differ, NaN, or half widths out of range.
    """
    if means.ndim != 2 or means.shape != stds.shape or not len(means):
        raise ConfigError(
            f"`means` and `stds` must be one row a data point and one column a latent, got shapes {tuple(means.shape)} "
            f"and {tuple(stds.shape)}"
        )
    if not 0 < least <= most:
        raise ConfigError(f"`least` and `most` must be 0 < least <= most, got {least} and {most}")
    if not (means.isfinite().all() and stds.isfinite().all()):
        raise ConfigError("the posteriors of the data are not finite, so there are no bounds; give `bounds` as numbers")
    # By sorting: torch.quantile takes no more than 16 million entries.
    ordered, spread = means.sort(0).values, stds.mean(0)
    quantiles = [ordered[round(q * (len(means) - 1))] for q in (0.005, 0.995)]
    low = (quantiles[0] - spread).clamp(-most, -least)
    high = (quantiles[1] + spread).clamp(least, most)
    return low, high
