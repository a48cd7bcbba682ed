"""Measures that the fitness of a run asks for beside D and R, and where they come from."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from lightning_gvae.callbacks.beta_evolution.trained_loss import forward_context, observed_terms
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.measures import Measures, Observation
from lightning_gvae.evolution.operators import Array
from lightning_gvae.interfaces import EncodesLatents, HasPenalties, offers
from lightning_gvae.metrics.code_scores import CODE_SCORES, code_scores
from lightning_gvae.training.modes import eval_mode

__all__ = ["check_measures", "run_measures"]


def check_measures(module: L.LightningModule, names: Sequence[str]) -> None:
    """Check that every measure is a term of the model's loss, or a score of codes.

    Raises:
        ConfigError: One is neither.
    """
    own = _own(module)
    if unknown := [name for name in names if name not in own and name not in CODE_SCORES]:
        offered = ", ".join(sorted({*own, *CODE_SCORES}))
        raise ConfigError(
            f"`search.fitness` (callbacks.beta_evolution.search.fitness) knows no measure {unknown[0]!r} for "
            f"{type(module).__name__}; `targets` and `scores` may name {offered}"
        )


def run_measures(
    trainer: L.Trainer, module: L.LightningModule, names: Sequence[str], conditioned: bool = False
) -> Measures | None:
    """Measures of a run; None where there are none.

    A name that the model has among the terms of its loss is that term, on the probe; any other is a score of the
    probe's codes.

    Args:
        trainer: Of the run.
        module: Its model.
        names: Of the measures, ``(S,)``.
        conditioned: Whether the network is scored as it is, in evaluation mode, and not as it is trained.
    """
    if not names:
        return None
    own, context, terms_of = _own(module), forward_context(trainer), observed_terms(module)
    terms, codes = [name for name in names if name in own], tuple(name for name in names if name not in own)

    def observe(model: nn.Module, batch: Any, generator: torch.Generator) -> Observation:
        with context(), eval_mode(model) if conditioned else nullcontext():
            found = terms_of(model, batch, generator).penalties if terms else {}
            encoder = cast(EncodesLatents, model)  # a copy of the run's
            mean, log_var = encoder.encode(encoder.prepare(batch)) if codes else (torch.zeros(0, 0),) * 2
        return Observation(torch.stack([found[name] for name in terms]) if terms else torch.zeros(0), mean, log_var)

    def summarise(values: Tensor, mean: Tensor, log_var: Tensor) -> Array:
        found = dict(zip(terms, values.tolist(), strict=True))
        found |= dict(zip(codes, code_scores(codes, mean, log_var), strict=True))
        return np.array([found[name] for name in names], dtype=np.float64)

    return Measures(tuple(names), observe, summarise)


def _own(module: L.LightningModule) -> tuple[str, ...]:
    return module.penalty_names if offers(module, HasPenalties) else ()
