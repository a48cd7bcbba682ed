"""Trains a population of members of one model in a single run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_gvae.callbacks.population_evolution.front import FrontOutput
from lightning_gvae.callbacks.population_evolution.journal import (
    PopulationJournal,
    journal_columns,
    journal_rows,
    needs_mig,
)
from lightning_gvae.callbacks.population_evolution.probe import Probe
from lightning_gvae.callbacks.population_evolution.run import PopulationRun
from lightning_gvae.callbacks.population_evolution.saved import load_picked
from lightning_gvae.callbacks.population_evolution.settings import TRAINING_WAYS, PopulationFront, TrainingWay
from lightning_gvae.callbacks.population_evolution.start import SETTING, check_population_run
from lightning_gvae.errors import CheckpointError, ConfigError, NonFiniteError, checked_choice, checked_count
from lightning_gvae.evolution.beta.lookahead import Clip
from lightning_gvae.evolution.model_copy import preserved_rng
from lightning_gvae.evolution.operators import Array
from lightning_gvae.evolution.pareto import knee
from lightning_gvae.evolution.population.search import PopulationSearch
from lightning_gvae.evolution.population.store import MemberStore, StoredMember
from lightning_gvae.evolution.ranks import check_agreement, sum_over_ranks
from lightning_gvae.interfaces import DataModule, DrawsTrainingNoise, require
from lightning_gvae.io.settings import as_settings
from lightning_gvae.lightning_compat import datamodule_of, one_optimizer_step

__all__ = ["PopulationEvolution"]


class PopulationEvolution(L.Callback):
    """Trains M members of the model on the same batches, and lets the worst take over from the best every few steps.

    Each member has weights, optimiser state, genes and noise of its own. Member 0 has the run's seed and starts from
    the model's weights; member m has the seed plus m and the weights that a run of that seed starts from. A member that
    never takes over from another is what that run would make of it.

    Every ``interval`` optimiser steps all members are scored on one probe of validation images, and the search decides
    who takes over weights, optimiser state and genes from whom. What was scored best so far is stored with its weights;
    the hypervolume of the stored members never falls. At the end they are the front: ``front.json``, ``front.csv``, a
    figure, and a checkpoint of each in ``members/`` that ``eval.py`` and the web lab open. ``population.csv`` has one
    row a member and generation.

    The model of the run shows one member, the knee of the population (the best, with one objective): validation, best
    and last checkpoint and the metrics of training are of that one, and the final test of the chosen member of the
    front. ``last.ckpt`` holds the whole population, so a run goes on exactly. Under DDP the
    members are split over the ranks; each is trained on one of them, on batches that are the same on all.

    Args:
        search: What decides; its seed keys all random numbers here too.
        interval: Optimiser steps between two generations, at least 1.
        warmup: Optimiser steps before the first generation, non-negative.
        probe_size: Validation images that members are scored on, at least 1; fewer if there are fewer.
        training: ``stacked`` trains all members of a rank as one network with stacked weights, equal up to rounding;
            ``one_by_one`` each as it would be alone, bit for bit; ``auto`` is ``stacked`` where that is possible and
            worth it: on a CPU not for convolutions, nor with a single thread.
        front: Treatment of the front, or the member of a saved one to train on.

    Raises:
        ConfigError: An argument is out of its range, or the model, the data or the Trainer do not allow a population.
        CheckpointError: A checkpoint belongs to a population with other settings, or to none.
        NonFiniteError: No member is finite any more.

    References:
        Jaderberg et al., Population Based Training of Neural Networks, 2017; Dimanov et al., MONCAE, 2021, for the
        front by hypervolume.
    """

    def __init__(
        self,
        search: PopulationSearch,
        interval: int = 250,
        warmup: int = 500,
        probe_size: int = 1024,
        training: TrainingWay = "auto",
        front: PopulationFront | Mapping[str, Any] | None = None,
    ) -> None:
        self.search = search
        self.interval = checked_count("interval", interval, unit="optimiser steps")
        self.warmup = checked_count("warmup", warmup, least=0, unit="optimiser steps")
        self.probe_size = checked_count("probe_size", probe_size, unit="images")
        checked_choice("training", training, TRAINING_WAYS)
        self.way: TrainingWay = training
        self.front = as_settings(PopulationFront, front, "front")
        self.run: PopulationRun | None = None
        self._probe: Probe | None = None
        self._module: DrawsTrainingNoise | None = None
        self._is_saving_member = False
        self._begin()

    def _begin(self) -> None:
        """Forget an earlier run."""
        self.search.restart()
        self.store = MemberStore(self.search.members)
        self.journal = PopulationJournal(journal_columns(self.search))
        self.volumes: list[float] = []
        self.last_step: int | None = None
        self.leader = 0
        self.scored = 0  # images scored so far, by all members together
        self._trained_images = 0  # by each member
        self._pending: Mapping[str, Any] | None = None
        self._sums: Tensor | None = None  # loss, D, R of the members of this rank since the last row of the loggers
        self._summed = 0  # steps in these sums
        self._is_chosen = False  # whether it is decided how members are trained

    @property
    def state_key(self) -> str:
        """Key in a checkpoint."""
        return PopulationEvolution.__qualname__

    @property
    def extra_compute(self) -> float:
        """Passes of all other members and of the probes, relative to those of one member's training."""
        if not self._trained_images:
            return 0.0
        return self.search.members - 1 + self.scored / (3 * self._trained_images)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the training of the model over, or load the member that was picked."""
        if stage != "fit":
            return
        self._begin()
        if self.front.pick is not None:
            if not trainer.ckpt_path:
                load_picked(trainer, pl_module, self.front)
            return
        if self.search.members < trainer.world_size:
            raise ConfigError(
                f"`search.members` must be at least the number of processes, {trainer.world_size}, got "
                f"{self.search.members}"
            )
        if vars(pl_module).get("training_step") is _refuse:
            _refuse(None, 0)
        self._module = check_population_run(trainer, pl_module, self.search.names)
        require(datamodule_of(trainer), DataModule, "PopulationEvolution", "Fit with `datamodule=`")
        # Lightning does the loops, members have optimisers of their own.
        pl_module.automatic_optimization = False
        pl_module.__dict__["training_step"] = self._training_step(trainer, pl_module)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint without a population.

        Raises:
            CheckpointError: It has none.
        """
        if self._module is not None and self.state_key not in checkpoint.get("callbacks", {}):
            raise CheckpointError(
                "the checkpoint holds one model and no population; train on with it without "
                f"{SETTING}, or start a population anew"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the members, or go on with those of the checkpoint."""
        if self._module is None:
            return
        clip = Clip(trainer.gradient_clip_val, "value" if trainer.gradient_clip_algorithm == "value" else "norm")
        state, self._pending = self._pending, None
        self.run = PopulationRun(self.search, pl_module, clip, fresh=state is None)
        self._is_chosen, self._sums, self._summed = False, None, 0
        if state is not None:
            self._go_on(self.run, state)
        data = require(datamodule_of(trainer), DataModule, "PopulationEvolution", "Fit with `datamodule=`")
        context = trainer.precision_plugin.val_step_context
        self._probe = Probe(self._module, data.val_set, self.probe_size, self.search.seed, context)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.journal.start(Path(trainer.default_root_dir) / "population.csv")
        bounds = ", ".join(f"{gene.name} in [{gene.low:g}, {gene.high:g}]" for gene in self.search.genes)
        names = ", ".join(objective.name for objective in self.search.objectives)
        replaced = 0 if self.search.method == "none" else self.search.replaced
        how = f"{replaced} replaced by `{self.search.method}`" if replaced else "nobody is replaced"
        rank_zero_info(
            f"PopulationEvolution: {self.search.members} members, {bounds}; {names} on {self._probe.size} validation "
            f"images every {self.interval} steps, {how}"
        )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Run a generation if one is due."""
        step = trainer.global_step
        due = step >= max(self.warmup, 1) and step % self.interval == 0 and step != self.last_step
        if self.run is not None and due:
            self.last_step = step
            self._generation(self.run, trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the model show the leading member."""
        if self.run is not None and trainer.state.fn == "fit":
            pl_module.load_state_dict(self.run.weights([self.leader])[self.leader])

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the leading member as the model.

        Raises:
            NonFiniteError: No member is finite: the checkpoint before is better.
        """
        if self.run is None or self._is_saving_member:
            return
        self._check_finite(self.run, trainer)
        checkpoint["state_dict"] = self.run.weights([self.leader])[self.leader]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score the members once more, write the front, and let the model be the chosen one."""
        run = self.run
        if run is None or self._module is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        scores, values = self._scored(run)
        store = MemberStore(self.store.capacity, self.store.members)
        self.search.note_reference(values)
        self._keep(store, run, trainer.global_step, scores, values)
        assert self.search.reference is not None
        volume = store.volume(self.search.reference)
        self.volumes.append(volume)
        rows = journal_rows(self.search, self.search.generation, trainer.global_step, run.genes, scores, [], volume)
        self.journal.add(rows)
        front = store.sorted()
        chosen = self._choice(np.array([member.values for member in front]))
        output = FrontOutput(Path(trainer.default_root_dir), self.search, front, chosen, self.volumes)
        data = require(datamodule_of(trainer), DataModule, "PopulationEvolution", "Fit with `datamodule=`")
        context = trainer.precision_plugin.test_step_context
        tested = Probe(self._module, data.test_set, self.front.test_images, self.search.seed, context)
        self._is_saving_member = True
        try:
            output.save_members(trainer, pl_module, tested)
        finally:
            self._is_saving_member = False
        if trainer.is_global_zero:
            output.write(self.journal.columns, self.journal.rows, self.extra_compute)
            output.draw(pl_module, data.val_set)
            output.publish(trainer)
        pl_module.load_state_dict(front[chosen].weights)
        genes = ", ".join(f"{name} {value:.4g}" for name, value in front[chosen].genes.items())
        rank_zero_info(
            f"PopulationEvolution: {len(front)} members in the front, hypervolume {volume:.6g}; the model is member "
            f"{chosen + 1} ({genes}); members/member-N.ckpt holds each"
        )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave a model behind that says that it cannot be trained on as it is."""
        if self._module is not None and "training_step" in vars(pl_module):
            pl_module.__dict__["training_step"] = _refuse
        self.run, self._probe = None, None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Do the same; Lightning does not call ``teardown`` then."""
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run goes on from, in plain containers and tensors; every rank must call it."""
        if self.run is None or self._is_saving_member:
            return {}
        sums = np.zeros((self.search.members, 3))
        if self._sums is not None:
            sums[[member.number for member in self.run.members]] = self._sums.cpu().double().numpy()
        return {
            "search": self.search.state_dict(),
            "interval": self.interval,
            "warmup": self.warmup,
            "probe_size": self.probe_size,
            **self.run.state_dict(),
            "store": self.store.state_dict(),
            "journal": [list(row) for row in self.journal.rows],
            "volumes": list(self.volumes),
            "last_step": self.last_step,
            "leader": self.leader,
            "scored": self.scored,
            "trained_images": self._trained_images,
            "sums": sum_over_ranks(sums, self.run.device).tolist(),
            "summed": self._summed,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep what :meth:`state_dict` gave until the members are made.

        Raises:
            CheckpointError: It is of a population with other settings.
        """
        if not state_dict:
            return
        self.search.load_state_dict(state_dict["search"])
        for name in ("interval", "warmup", "probe_size"):
            if state_dict[name] != getattr(self, name):
                raise CheckpointError(
                    f"`{SETTING}.{name}` of the checkpoint is {state_dict[name]}, here it is {getattr(self, name)}; "
                    "restore that setting, or start a new run"
                )
        self._pending = state_dict

    def _go_on(self, run: PopulationRun, state: Mapping[str, Any]) -> None:
        run.load_state_dict(state)
        self.store.load_state_dict(state["store"])
        self.journal.rows = [list(row) for row in state["journal"]]
        self.volumes = list(state["volumes"])
        self.last_step, self.leader, self.scored = state["last_step"], state["leader"], state["scored"]
        self._trained_images = state["trained_images"]
        sums = np.array(state["sums"])[[member.number for member in run.members]]
        self._sums, self._summed = torch.from_numpy(sums).to(run.device, torch.float32), state["summed"]

    def _training_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> Callable[[Any, int], dict[str, Tensor]]:
        def training_step(batch: Any, batch_idx: int) -> dict[str, Tensor]:
            """One optimiser step of all members, which counts as one of the Trainer."""
            run, module = self.run, self._module
            assert run is not None and module is not None
            images = module.prepare(batch)
            epoch = trainer.current_epoch
            if not self._is_chosen:
                self._is_chosen = True
                with preserved_rng(run.device):
                    run.choose_training(self.way, images, epoch, batch_idx, str(trainer.precision))
            every = trainer.log_every_n_steps  # type: ignore[attr-defined]
            is_log_step = every > 0 and (trainer.global_step + 1) % every == 0
            optimizer = pl_module.optimizers()
            assert isinstance(optimizer, LightningOptimizer)
            with one_optimizer_step([optimizer]):
                terms = run.step(images, epoch, batch_idx)
            self._trained_images += len(images)
            if every > 0:
                self._sums = terms if self._sums is None else self._sums + terms
                self._summed += 1
            if is_log_step:
                pl_module.log_dict(self._means(run))
            finite = torch.where(torch.isfinite(terms), terms, torch.nan)
            return {"loss": finite[:, 0].nanmean(), "kl": finite[:, 2].nanmean()}

        return training_step

    def _means(self, run: PopulationRun) -> dict[str, Tensor]:
        """Means of the leading member since the last row of the loggers, the same on every rank."""
        sums = np.zeros(3)
        for place, member in enumerate(run.members):
            if member.number == self.leader and self._sums is not None:
                sums = self._sums[place].cpu().double().numpy()
        loss, recon, kl = (sum_over_ranks(sums, run.device) / max(1, self._summed)).tolist()
        self._sums, self._summed = None, 0
        values = {"train/loss": loss, "train/recon": recon, "train/kl": kl, "train/elbo": -(recon + kl)}
        for name, value in zip(self.search.names, run.genes[self.leader].tolist(), strict=True):
            values[f"train/{name}"] = value
        if self.volumes:
            values["population/hypervolume"] = self.volumes[-1]
        values["population/generation"] = float(self.search.generation)
        values["evolution/extra_compute"] = self.extra_compute
        return {name: torch.tensor(value) for name, value in values.items()}

    def _generation(self, run: PopulationRun, trainer: L.Trainer) -> None:
        search, step, generation = self.search, trainer.global_step, self.search.generation
        scores, values = self._scored(run)
        search.note_reference(values)
        assert search.reference is not None
        self._keep(self.store, run, step, scores, values)
        self.volumes.append(self.store.volume(search.reference))
        genes = run.genes.copy()
        exchanges = search.tell(values, genes)
        facts = {"generation": generation, "values": values.tolist(), "exchanges": exchanges}
        check_agreement(facts, generation, run.device)
        rows = journal_rows(search, generation, step, genes, scores, exchanges, self.volumes[-1])
        self.journal.add(rows)
        gone = {each.member for each in exchanges}
        stay = [n for n in range(search.members) if n not in gone and np.isfinite(values[n]).all()]
        self.leader = stay[knee(values[stay])]
        for number in np.flatnonzero(~np.isfinite(values).all(1)):
            self._warn(int(number), step, genes, {each.member: each.parent for each in exchanges})
        run.exchange(exchanges)

    def _warn(self, number: int, step: int, genes: Array, parents: Mapping[int, int]) -> None:
        own = ", ".join(f"{n} {v:.4g}" for n, v in zip(self.search.names, genes[number].tolist(), strict=True))
        then = f"it takes over from member {parents[number]}" if number in parents else "it is left as it is"
        rank_zero_warn(
            f"PopulationEvolution: the scores of member {number} (seed {self.search.seed + number}, {own}) are not "
            f"finite at step {step}; {then}"
        )

    def _scored(self, run: PopulationRun) -> tuple[list[dict[str, float]], Array]:
        """Scores of all members by name, and the objectives ``(M, K)``."""
        probe = self._probe
        assert probe is not None
        with_mig = needs_mig(self.search)
        scores = run.score(lambda module: probe.score(module, with_mig))
        self.scored += probe.size * self.search.members
        return scores, self.search.values(scores)

    def _keep(
        self, store: MemberStore, run: PopulationRun, step: int, scores: list[dict[str, float]], values: Array
    ) -> None:
        """Store the members that are worth it; their weights are fetched once that is known."""
        assert self.search.reference is not None
        for number in np.flatnonzero(np.isfinite(values).all(1)).tolist():
            genes = dict(zip(self.search.names, run.genes[number].tolist(), strict=True))
            point = tuple(values[number].tolist())
            new = StoredMember(number, self.search.generation, step, genes, scores[number], point, {})
            store.add(new, self.search.reference)
        weights = run.weights([member.member for member in store.members if not member.weights])
        store.members = [
            each if each.weights else replace(each, weights=weights[each.member]) for each in store.members
        ]

    def _choice(self, values: Array) -> int:
        """Position in the front of the member that the run ends with."""
        if self.front.choose == "knee":
            return knee(values)
        if self.front.index > len(values):
            raise ConfigError(
                f"`front.index` must be 1 to {len(values)}, the size of the front, got {self.front.index}"
            )
        return self.front.index - 1

    def _check_finite(self, run: PopulationRun, trainer: L.Trainer) -> None:
        own = [all(bool(p.isfinite().all()) for p in member.parameters) for member in run.members]
        good = sum_over_ranks(np.array([float(sum(own))]), run.device)
        if not good[0]:
            raise NonFiniteError(
                f"no member of the population has finite weights at step {trainer.global_step}; nothing is saved. "
                "Narrow the bounds of `search.genes`, lower the learning rate or set trainer.gradient_clip_val"
            )


def _refuse(batch: Any, batch_idx: int) -> dict[str, Tensor]:
    """Stands for the training step of a model whose members were trained."""
    raise ConfigError(
        "this model was the front of a population and is not trained on its own; make a new one and load a member's "
        "weights, as `front.pick` does"
    )
