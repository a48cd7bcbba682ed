"""Plan of a KL weight evolution: when generations come, how candidates are judged, and what that costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from lightning_gvae.errors import CheckpointError, ConfigError, checked_choice, checked_count
from lightning_gvae.evolution.beta.conditioned import conditioned_passes
from lightning_gvae.evolution.beta.lookahead import first_order_passes, lookahead_passes
from lightning_gvae.io.settings import differences
from lightning_gvae.renames import renamed_keys

__all__ = ["EvaluatorName", "EvolutionPlan", "KLSource"]

OWNER = "lightning_gvae.callbacks.beta_evolution.BetaEvolution"
EvaluatorName = Literal["lookahead", "first_order", "conditioned"]
KLSource = Literal["probe", "training"]


@dataclass(frozen=True)
class EvolutionPlan:
    """Settings of :class:`~lightning_gvae.callbacks.beta_evolution.BetaEvolution` that decide its results.

    Args:
        interval: Optimiser steps between two generations, at least 1.
        warmup: Optimiser steps before the first generation, non-negative.
        evaluator: ``"lookahead"``, ``"first_order"`` or ``"conditioned"``.
        lookahead_steps: K, optimiser steps looked ahead, at least 1; ``"conditioned"`` looks none ahead.
        probe_size: Training images on which the candidates are scored, at least 1.
        kl_source: ``"probe"`` or ``"training"``.

    Raises:
        ConfigError: A value is out of its range.
    """

    interval: int
    warmup: int
    evaluator: EvaluatorName
    lookahead_steps: int
    probe_size: int
    kl_source: KLSource

    def __post_init__(self) -> None:
        checked_count("interval", self.interval, unit="optimiser steps")
        checked_count("warmup", self.warmup, least=0, unit="optimiser steps")
        checked_choice("evaluator", self.evaluator, get_args(EvaluatorName))
        # At fixed weights D and R are the same for every beta.
        checked_count("lookahead_steps", self.lookahead_steps, unit="optimiser steps, or no beta has an effect")
        checked_count("probe_size", self.probe_size, unit="images")
        checked_choice("kl_source", self.kl_source, ("probe", "training"))
        if self.evaluator == "conditioned" and self.kl_source == "training":
            raise ConfigError(
                "`kl_source` must be 'probe' with `evaluator` 'conditioned', got 'training': such a network trains at "
                "all KL weights, the KL of training belongs to none of them"
            )

    def check_genes(self, genes: list[str], measured: Sequence[str] = ()) -> None:
        """Check that the evaluator can judge these genes by these measures.

        Raises:
            ConfigError: It cannot.
        """
        if self.evaluator == "first_order" and measured:
            raise ConfigError(
                f"`evaluator` 'first_order' predicts D and R alone, `search.fitness` asks for {', '.join(measured)}; "
                "use 'lookahead'"
            )
        if self.evaluator == "first_order" and genes != ["beta"]:
            raise ConfigError(
                f"`evaluator` 'first_order' predicts the effect of the gene 'beta' alone, got {genes}; use 'lookahead'"
            )

    @property
    def batches(self) -> int:
        """Training batches that candidates of a generation share."""
        return 0 if self.evaluator == "conditioned" else self.lookahead_steps

    def due(self, step: int, last_step: int | None) -> bool:
        """Whether a generation is due before the optimiser step ``step``; ``last_step`` is that of the last one."""
        # By stairs, not by remainder: global_step stands still under accumulation and may jump under manual
        # optimisation.
        last = self.warmup - 1 if last_step is None else last_step
        return step // self.interval > last // self.interval and step >= self.warmup

    def passes(self, candidates: int, batch_size: int, world_size: int, measures: bool = False) -> int:
        """Sample-passes of a generation on all ranks together; of one that sleeps, without candidates, too.

        Args:
            candidates: That are scored.
            batch_size: Images of an optimiser step on one rank.
            world_size: Ranks that share the candidates.
            measures: Whether more than D and R is asked for, which takes a further pass of the probe.
        """
        passes = self.probe_size * world_size
        if candidates and self.evaluator == "first_order":
            passes += first_order_passes(batch_size, self.probe_size) * world_size
        elif candidates and self.evaluator == "conditioned":
            passes += conditioned_passes(candidates, self.probe_size)
        elif candidates:
            passes += lookahead_passes(candidates, self.lookahead_steps, batch_size, self.probe_size)
        return passes + (self.probe_size * (candidates + world_size) if measures else 0)

    def extra_compute(self, candidates: int, batch_size: int, world_size: int, measures: bool = False) -> float:
        """Sample-passes of evolution per sample-pass of training if every generation has so many candidates."""
        passes = self.passes(candidates, batch_size, world_size, measures)
        return passes / (3 * batch_size * self.interval * world_size)

    def summary(self, candidates: int) -> str:
        """Words for the log."""
        ahead = f", {self.batches} steps ahead" if self.batches else ""
        return (
            f"{candidates} candidates every {self.interval} steps ({self.evaluator}{ahead}, probe of {self.probe_size})"
        )

    def with_probe(self, size: int) -> "EvolutionPlan":
        """Plan of a run whose data allow a probe of so many images."""
        return replace(self, probe_size=size)

    def settings(self) -> dict[str, Any]:
        """Fields as plain values."""
        return asdict(self)

    def check_stored(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on from a checkpoint with other settings.

        Raises:
            CheckpointError: They are others; the message names them.
        """
        # Checkpoints without a source are of a time when there was but the probe.
        stored = {"kl_source": "probe", **renamed_keys(settings, OWNER)}
        if changed := differences(stored, self.settings()):
            raise CheckpointError(
                "the stored evolution has other settings: " + "; ".join(changed) + ". Restore them or start a new run"
            )
