"""Ways of scoring the candidates of a Lightning run: trained one after the other, all at once, or not trained."""

from collections.abc import Callable, Sequence
from typing import Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_deprecation, rank_zero_info
from torch import nn

from lightning_gvae.callbacks.beta_evolution.genes import searched_optimizers
from lightning_gvae.callbacks.beta_evolution.plan import EvaluatorName
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.conditioned import conditioned
from lightning_gvae.evolution.beta.lookahead import Trial, first_order, lookahead
from lightning_gvae.evolution.beta.lookahead_batched import lookahead_batched, unsupported_reason
from lightning_gvae.evolution.beta.obstacles import Footprint
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.ranks import local_indices, sum_over_ranks

__all__ = ["LOOKAHEADS", "Lookahead", "RunLookahead", "supported_lookahead"]

Lookahead = Literal["auto", "sequential", "batched"]
LOOKAHEADS: tuple[Lookahead, ...] = ("auto", "sequential", "batched")


def supported_lookahead(value: str) -> Lookahead:
    """Setting ``lookahead`` as it is understood; the former ``"recorded"`` becomes ``"auto"``, with a warning.

    Raises:
        ConfigError: The value is none of ``LOOKAHEADS``.
    """
    if value == "recorded":
        rank_zero_deprecation(
            "`lookahead` 'recorded' of BetaEvolution (callbacks.beta_evolution.lookahead) no longer exists and "
            "is taken "
            "as 'auto'; use 'auto', 'batched' or 'sequential'"
        )
        return "auto"
    for known in LOOKAHEADS:
        if value == known:
            return known
    raise ConfigError(f"`lookahead` must be one of {', '.join(LOOKAHEADS)}, got {value!r}")


class RunLookahead:
    """Scores candidates in the way that was asked for; ``"auto"`` trains them together where the run allows it.

    Args:
        choice: One of ``LOOKAHEADS``.
        evaluator: What scores candidates; ``choice`` is about those that are trained.
    """

    def __init__(self, choice: Lookahead, evaluator: EvaluatorName = "lookahead") -> None:
        self._choice = choice if evaluator == "lookahead" else "sequential"
        ways = {"lookahead": lookahead, "first_order": first_order, "conditioned": conditioned}
        self._one_by_one: Callable[[ModelCopy, Trial, Array], Array] = ways[evaluator]
        self._together = False
        self._footprint: Footprint | None = None

    def start(self, trainer: L.Trainer, pl_module: L.LightningModule, genes: Sequence[str]) -> None:
        """Check what can be told of a run before its first step.

        Raises:
            ConfigError: ``"batched"`` was asked for and is not possible.
        """
        self._together = self._choice != "sequential"
        if trainer.precision not in ("32-true", "64-true"):
            self._check(f"`trainer.precision` is {trainer.precision}, which rounds stacked networks otherwise")
        optimizers = searched_optimizers(trainer, pl_module, genes)
        if len(optimizers) > 1:
            self._check("several optimisers take part")
        self._check(unsupported_reason(pl_module, optimizers[0]))

    def watch(self, module: nn.Module, device: torch.device) -> None:
        """Watch the forward passes that come until :meth:`watched`."""
        self._footprint = Footprint(module, device) if self._together else None

    def watched(self) -> None:
        """Take note of what they left behind.

        Raises:
            ConfigError: ``"batched"`` was asked for and is not possible.
        """
        if self._footprint is not None:
            self._check(self._footprint.found())

    def __call__(self, model_copy: ModelCopy, trial: Trial, genomes: Array) -> Array:
        """Scores ``(P, 2 + S)`` of D, R and what is measured.

        Raises:
            ConfigError: ``"batched"`` was asked for and is not possible.
        """
        if self._together:
            try:
                return lookahead_batched(model_copy, trial, genomes)
            except RuntimeError as error:  # from vmap: code that reads values off tensors, an operation without a rule
                self._check(f"they do not run together ({str(error).splitlines()[0]})")
        return self._one_by_one(model_copy, trial, genomes)

    def over_ranks(self, model_copy: ModelCopy, trial: Trial, genomes: Array, device: torch.device) -> Array:
        """Scores ``(P, 2 + S)`` of all genomes on every rank, each computed by one of them; errors as for a call."""
        mine = local_indices(len(genomes))
        table = np.zeros((len(genomes), trial.width))
        table[mine] = self(model_copy, trial, genomes[mine])
        return sum_over_ranks(table, device)

    def _check(self, reason: str | None) -> None:
        """Turn to one candidate after the other if there is a reason; refused if the other way was asked for."""
        if reason is None or not self._together:
            return
        self._together = False
        if self._choice == "batched":
            raise ConfigError(
                f"`lookahead` 'batched' cannot train these candidates together: {reason}; use 'auto' or 'sequential'"
            )
        rank_zero_info(f"BetaEvolution: candidates are trained one after the other: {reason}")
