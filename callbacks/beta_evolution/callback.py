"""Evolves the KL weight of a model while it trains."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.beta_evolution.genes import (
    check_ranks,
    read_genome,
    searched_optimizers,
    write_genome,
)
from lightning_gvae.callbacks.beta_evolution.history import publish_history
from lightning_gvae.callbacks.beta_evolution.measures import check_measures
from lightning_gvae.callbacks.beta_evolution.notes import (
    measures_missed,
    notes_before,
    probe_reduced,
    target_missed,
)
from lightning_gvae.callbacks.beta_evolution.plan import EvaluatorName, EvolutionPlan, KLSource
from lightning_gvae.callbacks.beta_evolution.report import candidate_rows, columns, generation_scalars
from lightning_gvae.callbacks.beta_evolution.scoring import RunLookahead, supported_lookahead
from lightning_gvae.callbacks.beta_evolution.training_kl import TrainingKL
from lightning_gvae.callbacks.beta_evolution.trial import TrialData, check_run, step_size
from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.evolution.beta.journal import BetaJournal
from lightning_gvae.evolution.beta.lookahead import score
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.model_copy import ModelCopy, preserved_rng
from lightning_gvae.evolution.ranks import sum_over_ranks
from lightning_gvae.interfaces import EvolvableModel, require
from lightning_gvae.loggers.tables import send_table
from lightning_gvae.renames import takes_former_names

__all__ = ["BetaEvolution"]


@takes_former_names("lightning_gvae.callbacks.beta_evolution.BetaEvolution")
class BetaEvolution(L.Callback):
    r"""Looks ahead with candidate KL weights every ``interval`` optimiser steps and trains on with the best one.

    Before a training step that is due, the search proposes candidates, each is scored by the D and R that it leads to
    (see :mod:`lightning_gvae.evolution.beta.lookahead`), and ``pl_module.beta`` is set to the one that the search
    settles for. Nothing else of the run changes: not a weight, not an optimiser moment, not a random state. The buffer
    is the only truth: a beta written from outside between two generations is adopted.

    Under DDP the candidates are split over the ranks, the scores are summed up over them, and every rank takes the
    same decision.

    Cost, in passes of one sample (forward 1, backward 2) and relative to training: ``evolution/extra_compute``. The
    defaults plan 18.4 % at batch size 128, probes included; a search that sleeps costs 0.3 %. Counted as if every
    candidate were trained alone: what training them together saves is left out, so that runs compare.

    The look-ahead must cover the fast response of the KL to beta. It did at learning rate 1e-3 with 5 steps (85 to
    110 % of the change after 500 steps, fully connected network on MNIST), while 1e-4 took 20; otherwise the search
    overshoots, then narrows its trust region. So at a smaller rate raise ``lookahead_steps`` and ``interval`` alike.

    ``evolution.csv`` in ``trainer.default_root_dir`` has one row per candidate and generation.

    Args:
        search: What proposes and selects; its seed keys all random numbers here too.
        interval: Optimiser steps between two generations, at least 1.
        warmup: Optimiser steps before the first generation, non-negative. On the plateau before the latents wake up
            a look-ahead says nothing.
        evaluator: ``"lookahead"`` trains a copy with each candidate, ``"first_order"`` predicts from gradients
            (only for the single gene ``beta``). ``"conditioned"`` trains nothing: a forward pass of the probe scores a
            candidate, by a model whose network is conditioned on the genes (``multi_rate_vae``).
        lookahead_steps: K, optimiser steps looked ahead, at least 1.
        probe_size: Training images, drawn anew each generation, on which the candidates are scored. They and the images
            looked ahead with are drawn as the training loader draws: with its sampler, weights and limits.
        lookahead: ``"sequential"`` trains one candidate after the other. ``"batched"`` trains all at once with stacked
            weights, equal up to rounding and faster; it takes fully connected networks only. ``"auto"`` is
            ``"batched"`` where that is possible, else ``"sequential"``, and says why. ``"recorded"`` of earlier
            versions is taken as ``"auto"``, with a warning.
        name: Distinguishes several instances in checkpoints and random streams.
        kl_source: Where the KL of the weights as they are is read. ``"probe"``: on the probe, for this moment.
            ``"training"``: the mean over the batches of the interval that ends here, to which the probe adds by how
            much the candidates differ. For KLs that swing from step to step, or lie far apart from sample to sample, as
            those of text do: the search would run after them. The module's ``training_step`` must return its ``kl``.

    Raises:
        ConfigError: an argument is out of its range, the module lacks the buffer of a gene, has a ``training_step`` of
            its own without ``trained_terms`` or does not fit the evaluator, the trainer has several optimisers or a
            strategy that shards the weights, which items the training loader yields cannot be told, or the candidates
            cannot be trained as ``lookahead`` insists on.
        CheckpointError: a checkpoint belongs to an evolution with other settings.
        DesyncError: the ranks of a process group disagree.

    References:
        Wu, Cao and Qi, eVAE: Evolutionary Variational Autoencoder, 2022 (the idea; the algorithm is our own
        specification, see docs/evae.md).
    """

    def __init__(
        self,
        search: BetaSearch,
        interval: int = 250,
        warmup: int = 500,
        evaluator: EvaluatorName = "lookahead",
        lookahead_steps: int = 5,
        probe_size: int = 256,
        name: str = "beta_evolution",
        lookahead: Literal["auto", "sequential", "batched", "recorded"] = "auto",
        kl_source: KLSource = "probe",
    ) -> None:
        self.plan = EvolutionPlan(interval, warmup, evaluator, lookahead_steps, probe_size, kl_source)
        self.genes = [gene.name for gene in search.genes]
        self.plan.check_genes(self.genes, search.measured)
        self.search = search
        self.name = name
        self.lookahead = supported_lookahead(lookahead)
        self.last_step: int | None = None
        self.training_passes = 0
        self.evolution_passes = 0
        self.scalars: dict[str, float] = {}
        self._journal: BetaJournal | None = None
        self._data = TrialData(
            self.genes,
            search.seed,
            name,
            self.plan.batches,
            probe_size,
            evaluator == "conditioned",
            search.measured,
        )
        self._training_kl = TrainingKL(kl_source == "training", search.tolerance, evaluator != "conditioned")
        self._run_plan = self.plan  # with the probe that the run's data allow
        self._lookahead = RunLookahead(self.lookahead, evaluator)
        self._seconds = 0.0
        self._started = 0.0

    @property
    def state_key(self) -> str:
        """Key of this instance in a checkpoint."""
        return f"{type(self).__qualname__}{ {'name': self.name}!r}"

    @property
    def extra_compute(self) -> float:
        """Passes spent on evolution so far, relative to those of training."""
        return self.evolution_passes / max(1, self.training_passes)

    def planned_extra_compute(self, batch_size: int, world_size: int = 1) -> float:
        """Sample-passes of evolution per sample-pass of training while the search is awake.

        Args:
            batch_size: Images of an optimiser step on one rank.
            world_size: Ranks that share the candidates.
        """
        return self._run_plan.extra_compute(self.search.budget, batch_size, world_size, bool(self.search.measured))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Claim the buffer."""
        if stage == "fit":
            remedy = "Remove the callback (callbacks.beta_evolution=null), or choose a VAE or VAE-GAN"
            model = require(pl_module, EvolvableModel, "BetaEvolution", remedy)
            if "beta" in self.genes:
                model.claim_beta("BetaEvolution")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that the run can be looked ahead, and say what that will cost."""
        check_run(trainer, pl_module, self.search.genes, self.plan.evaluator)
        check_measures(pl_module, self.search.measured)
        self._run_plan = self.plan.with_probe(self._data.probed(trainer))
        if note := probe_reduced(self.plan.probe_size, self._run_plan.probe_size):
            rank_zero_info(note)
        names = columns(self.genes, self.search.measured)
        self._journal = BetaJournal(Path(trainer.default_root_dir) / "evolution.csv", names)
        self._started, self._seconds = time.perf_counter(), 0.0
        planned = self.planned_extra_compute(step_size(trainer), trainer.world_size)
        summary = self._run_plan.summary(self.search.budget)
        rank_zero_info(f"BetaEvolution: {summary}; planned extra compute {100 * planned:.1f} % of training")
        self._lookahead.start(trainer, pl_module, self.genes)
        for note in notes_before(
            self.plan.interval,
            self.plan.warmup,
            trainer.global_step,
            trainer.estimated_stepping_batches,
            self._genome(trainer, pl_module),
            self.search.target,
        ):
            rank_zero_info(note)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Run a generation if one is due."""
        step = trainer.global_step
        due = self.plan.due(step, self.last_step)
        if due:
            self.last_step = step
            self._timed_generation(trainer, pl_module)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        logging = every > 0 and (step + 1) % every == 0
        if self.scalars and (due or logging):
            # Logged on every logging step, not only when something happens: what is logged between two logging steps
            # never reaches the loggers if the epoch ends before the next one.
            # Tensors on the CPU: of numbers Lightning would make tensors on the device, one by one.
            pl_module.log_dict({name: torch.tensor(value) for name, value in self.scalars.items()})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what training itself costs, and take note of its KL."""
        images = batch[0] if isinstance(batch, (list, tuple)) else batch
        self.training_passes += 3 * len(images) * trainer.world_size
        self._training_kl.add(outputs)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what evolution cost, and hand the population to loggers that show tables."""
        share = self._seconds / max(time.perf_counter() - self._started, 1e-9)
        rank_zero_info(
            f"BetaEvolution: {self.search.generation} generations, extra compute "
            f"{100 * self.extra_compute:.1f} % of training, {100 * share:.1f} % of the wall time"
        )
        self._note_target(trainer, pl_module)
        if trainer.is_global_zero and self._journal is not None and self._journal.rows:
            send_table(trainer, "evolution/population", self._journal.columns, self._journal.rows)
            if any(isinstance(callback, Figures) for callback in trainer.callbacks):  # type: ignore[attr-defined]
                publish_history(trainer, self.name, self.search.genes, self._journal.columns, self._journal.stored())

    def state_dict(self) -> dict[str, Any]:
        """Settings, counters and the search, in plain containers."""
        return {
            "settings": self.plan.settings(),
            "search": self.search.state_dict(),
            "last_step": self.last_step,
            "training_passes": self.training_passes,
            "evolution_passes": self.evolution_passes,
            "scalars": dict(self.scalars),
            "observed": self._training_kl.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; a changed target is allowed."""
        self.plan.check_stored(state_dict["settings"])
        message = self.search.load_state_dict(state_dict["search"])
        if message:
            rank_zero_info(f"BetaEvolution: {message}")
        self.last_step = state_dict["last_step"]
        self.training_passes = state_dict["training_passes"]
        self.evolution_passes = state_dict["evolution_passes"]
        self.scalars = dict(state_dict["scalars"])
        if "observed" in state_dict:
            self._training_kl.load_state_dict(state_dict["observed"])

    def _timed_generation(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.device.type != "cpu":
            torch.accelerator.synchronize()  # training queued before must not be charged to evolution
        start = time.perf_counter()
        with preserved_rng(pl_module.device):
            self._generation(trainer, pl_module)
        self._seconds += time.perf_counter() - start

    def _generation(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        search, device = self.search, pl_module.device
        generation, genome = search.generation, self._genome(trainer, pl_module)
        check_ranks(search, genome, device)
        optimizers = searched_optimizers(trainer, pl_module, self.genes)
        model_copy = ModelCopy(pl_module, *optimizers)
        trial = self._data.trial(trainer, pl_module, generation)
        trial.noise.reseed()
        self._lookahead.watch(model_copy.module, device)
        # All ranks score the same weights; the mean removes what is left of differences between their devices.
        reference = sum_over_ranks(np.array(score(model_copy, trial)), device) / trainer.world_size
        probed = float(reference[1])
        shift = np.zeros(len(reference))
        shift[1] = self._training_kl.correction(probed, trainer, self._run_plan, device)
        reference = reference + shift
        self._lookahead.watched()
        if search.genome and genome != search.genome:
            rank_zero_info(
                f"BetaEvolution: {self.genes} was set to {genome} from outside, evolution goes on from there"
            )
        candidates = search.ask(trainer.global_step, genome, reference)
        if len(candidates):
            steps = [self._data.batches(trainer, pl_module, generation, k) for k in range(self.plan.batches)]
            scores = self._lookahead.over_ranks(model_copy, replace(trial, steps=steps), candidates, device) + shift
            outcome = search.tell(scores)
            write_genome(pl_module, optimizers, self.genes, search.genome)
        else:
            candidates, scores, outcome = np.array([genome]), reference[None, :], None
        trained = len(candidates) if outcome else 0
        self.evolution_passes += self._run_plan.passes(
            trained, step_size(trainer), trainer.world_size, measures=bool(search.measured)
        )
        check_ranks(search, self._genome(trainer, pl_module), device)
        self.scalars |= generation_scalars(search, generation, reference, self.extra_compute, outcome)
        if trainer.is_global_zero and self._journal is not None:
            step = trainer.global_step
            self._journal.add(candidate_rows(search, generation, step, candidates, scores, outcome))

    def _genome(self, trainer: L.Trainer, pl_module: L.LightningModule) -> tuple[float, ...]:
        """Gene values in force."""
        optimizers = searched_optimizers(trainer, pl_module, self.genes)
        return read_genome(pl_module, optimizers, self.genes, self.search.genome)

    def _note_target(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how far from the target a run ends that did not reach it."""
        search = self.search
        kl = self._training_kl.final(self.scalars.get("evolution/kl"), pl_module.device)
        if search.generation == 0:
            return
        genome = self._genome(trainer, pl_module)
        seen = {name: self.scalars[f"evolution/{name}"] for name in search.measured}
        for note in (
            target_missed(kl, search.target_kl, search.tolerance, search.genes, genome),
            measures_missed(seen, search.fitness.targets or {}, search.tolerance),
        ):
            if note:
                rank_zero_info(note)
