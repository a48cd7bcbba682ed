"""How the candidates of a run are trained: one after the other, from recordings of training steps, or all at once."""

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_gvae.callbacks.beta_trial import why_one_by_one
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.lookahead import Trial, first_order, lookahead
from lightning_gvae.evolution.lookahead_batched import lookahead_batched
from lightning_gvae.evolution.lookahead_recorded import RecordedLookahead, why_not_recorded
from lightning_gvae.evolution.obstacles import Footprint
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.recording import CannotRecord
from lightning_gvae.evolution.scratch import Scratch

__all__ = ["LOOKAHEADS", "RunLookahead"]

LOOKAHEADS = ("auto", "sequential", "batched", "recorded")
# Numbers in the weights of all candidates together. Above, those of one at a time are better for a processor's caches.
MANY_WEIGHTS = 2**20


class RunLookahead:
    """Scores candidates in the way that was asked for, or in the fastest that the run allows.

    Args:
        choice: One of ``LOOKAHEADS``.
        predicts: Whether candidates are scored by :func:`~lightning_gvae.evolution.lookahead.first_order` and not trained.
    """

    def __init__(self, choice: str, predicts: bool = False) -> None:
        self._choice = "sequential" if predicts else choice
        self._one_by_one = first_order if predicts else lookahead
        self._obstacles: dict[str, str] = {}
        self._recorded = RecordedLookahead()
        self._footprint: Footprint | None = None

    def start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find out what can be told of a run before its first step.

        Raises:
            ConfigError: The way that was asked for is not open.
        """
        self._obstacles.clear()
        self._recorded = RecordedLookahead()
        for way, obstacle in (
            ("batched", why_one_by_one(trainer, pl_module)), ("recorded", why_not_recorded(pl_module))
        ):  # fmt: skip
            self._meet(way, obstacle)

    def watch(self, module: nn.Module, device: torch.device) -> None:
        """Watch the forward passes that come until :meth:`watched`."""
        self._footprint = Footprint(module, device) if self._open() else None

    def watched(self) -> None:
        """Take note of what they left behind.

        Raises:
            ConfigError: The way that was asked for is not open.
        """
        if self._footprint is not None:
            found = self._footprint.found()
            for way in self._open():
                self._meet(way, found)

    def __call__(self, scratch: Scratch, trial: Trial, genomes: Array) -> Array:
        """Scores ``(P, 2)`` of D and R.

        Raises:
            ConfigError: The way that was asked for is not open.
        """
        many = len(genomes) * sum(parameter.numel() for parameter in scratch.parameters) > MANY_WEIGHTS
        ways = self._open()
        for way in ways if many else reversed(ways):
            try:
                return (self._recorded if way == "recorded" else lookahead_batched)(scratch, trial, genomes)
            except CannotRecord as obstacle:
                self._meet(way, str(obstacle))
        return self._one_by_one(scratch, trial, genomes)

    def _open(self) -> list[str]:
        ways = {"auto": ["recorded", "batched"], "sequential": []}.get(self._choice, [self._choice])
        return [way for way in ways if way not in self._obstacles]

    def _meet(self, way: str, obstacle: str | None) -> None:
        """Note what stands in a way; refused if it was asked for."""
        if obstacle is None or way not in self._open():
            return
        self._obstacles[way] = obstacle
        if self._choice == "batched":
            raise ConfigError(
                f"`lookahead` 'batched' cannot train these candidates together: {obstacle}; use 'auto' or 'sequential'"
            )
        if self._choice == "recorded":
            raise ConfigError(f"`lookahead` 'recorded' cannot record these: {obstacle}; use 'auto' or 'sequential'")
        if not self._open():
            rank_zero_info(f"BetaEvolution: candidates are trained one after the other: {obstacle}")
