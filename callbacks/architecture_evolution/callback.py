"""Evolves the architecture of a convolutional autoencoder before it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.architecture_evolution.data import candidate_data
from lightning_gvae.callbacks.architecture_evolution.front import train_front
from lightning_gvae.callbacks.architecture_evolution.measures import needed_measures
from lightning_gvae.callbacks.architecture_evolution.output import SearchOutput, member
from lightning_gvae.callbacks.architecture_evolution.plan import SearchPlan
from lightning_gvae.callbacks.architecture_evolution.progress import SearchBar
from lightning_gvae.callbacks.architecture_evolution.saved import checkpoint_genome, saved_member
from lightning_gvae.callbacks.architecture_evolution.settings import (
    CandidateTrainingSettings,
    FrontSettings,
    ParallelSettings,
    SearchFiles,
)
from lightning_gvae.callbacks.architecture_evolution.stored import result_cache, search_settings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateTraining, read_candidate, weights_file
from lightning_gvae.evolution.architecture.candidate_trainers import build_trainer
from lightning_gvae.evolution.architecture.evolvers import Elitism
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.architecture.group import SearchGroup
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.architecture.search import ArchitectureSearch, Region, choose, pixel_entropy
from lightning_gvae.interfaces import GenomeModel, require
from lightning_gvae.io.settings import as_settings
from lightning_gvae.renames import takes_former_names

__all__ = ["ArchitectureEvolution"]


@takes_former_names("lightning_gvae.callbacks.architecture_evolution.ArchitectureEvolution")
class ArchitectureEvolution(L.Callback):
    """Before training, evolves genomes over reconstruction loss and compression, and hands one to the module.

    In ``setup``, when the process group is up and nothing is built yet, every candidate is trained by a Trainer of its
    own, on the rank that it falls to or in the processes of the backend. The journal remembers each of them: a search
    that was stopped goes on with identical results. Of the front, one member is chosen, given to the module with its
    weights, and trained on by the run itself. The run's own random numbers are not touched.

    A run that goes on from a checkpoint does not search again, if the Trainer is told the path by
    ``trainer.ckpt_path = path`` before ``fit``: what is passed to ``fit`` is not visible to a callback's setup.

    Args:
        space: Where genomes come from.
        algorithm: ``sms_emoa``, ``nsga2``, ``chv_roulette`` (the paper's) or ``random``.
        population: Genomes a generation, at least 2.
        generations: At least 1.
        objectives: What is minimised, at least two of ``loss, loc, macs, parameters, probe_error, fid``. The last is of
            reconstructions, in the feature space of a classifier that is learnt from the data.
        reference: Reference point of the hypervolume; None takes the paper's (4, 12) and its like.
        elitism: Of ``chv_roulette``.
        limits: Region of interest; what lies outside is not trained.
        training: Training and scoring of a candidate.
        front: Treatment of the front, and the member that the run trains on; or the member of a saved one.
        parallel: Processes that train the candidates.
        files: Files that a search reads and writes.
        seed: Of everything here.

    The five groups may be given as mappings; None takes their defaults.

    Raises:
        ConfigError: An argument is out of its range, a bound cannot be met, or the module or the data lack something.

    References:
        Dimanov, Balaguer-Ballester, Singleton, Rostami, MONCAE: Multi-Objective Neuroevolution of Convolutional
        Autoencoders, 2021.
    """

    def __init__(
        self,
        space: GenomeSpace,
        algorithm: str = "sms_emoa",
        population: int = 20,
        generations: int = 20,
        objectives: Sequence[str] = ("loss", "loc"),
        reference: Sequence[float] | None = None,
        elitism: Elitism = "best",
        limits: Region | Mapping[str, Any] | None = None,
        training: CandidateTrainingSettings | Mapping[str, Any] | None = None,
        front: FrontSettings | Mapping[str, Any] | None = None,
        parallel: ParallelSettings | Mapping[str, Any] | None = None,
        files: SearchFiles | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.plan = SearchPlan(
            space,
            algorithm,
            population,
            generations,
            tuple(objectives),
            None if reference is None else tuple(reference),
            elitism,
            as_settings(Region, limits, "limits"),
            seed,
        )
        self.training = as_settings(CandidateTrainingSettings, training, "training")
        self.front = as_settings(FrontSettings, front, "front")
        self.parallel = as_settings(ParallelSettings, parallel, "parallel")
        self.files = as_settings(SearchFiles, files, "files")
        self.output: SearchOutput | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the genome: in the module, in the checkpoint, in a saved front, or by searching."""
        if stage != "fit":
            return
        remedy = "Choose model=conv_autoencoder or model=conv_vae, or remove callbacks.architecture_evolution"
        module = require(pl_module, GenomeModel, "ArchitectureEvolution", remedy)
        if module.genome is not None:
            rank_zero_info(f"ArchitectureEvolution: the model has a genome, nothing is searched ({module.genome.key})")
        elif trainer.ckpt_path:
            module.adopt(checkpoint_genome(str(trainer.ckpt_path)))
            rank_zero_info("ArchitectureEvolution: the genome is the checkpoint's, nothing is searched")
        elif self.front.pick is not None:
            module.adopt(*saved_member(trainer, self.files, self.front.pick))
        else:
            self._search(trainer, module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hand pictures and table to report and loggers."""
        if self.output is not None and trainer.is_global_zero:
            self.output.publish(trainer, pl_module)

    def _search(self, trainer: L.Trainer, module: GenomeModel) -> None:
        plan, files, train, members = self.plan, self.files, self.training, self.front
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            plan, files = plan.shortened(), replace(files, journal=None, shared_journal=None)
            train, members = self.training.shortened(), self.front.shortened()
        plan.check_space(module.costs)
        if (there := plan.space.size()) < plan.population:
            rank_zero_info(
                f"ArchitectureEvolution: `callbacks.architecture_evolution.population` is {plan.population}, but the "
                f"space has {there} genomes: proposals repeat and are not trained again; lower it or widen the space"
            )
        folder = Path(trainer.strategy.broadcast(trainer.default_root_dir))
        path = Path(files.journal) if files.journal is not None else folder / "search" / "journal.jsonl"
        data = candidate_data(trainer, train)
        group = SearchGroup(self.parallel.timeout_hours)
        measure, measured = needed_measures(plan, trainer, group, data, train.threads, files.cache_dir)
        settings = search_settings(plan, train, trainer, module, data, measured)
        device = trainer.strategy.root_device
        cache = None
        if files.shared_journal is not None:
            cache = result_cache(Path(files.shared_journal), plan, settings, device)
        bar = SearchBar(plan.generations * plan.population, plan.generations, trainer.is_global_zero)
        training = CandidateTraining(
            module.candidate_factory(),
            data,
            module.cost_function(),
            train,
            device=str(device),
            save_to=path.parent / "weights" if cache is None else cache.weights,
            measure=measure,
        )
        candidates = build_trainer(self.parallel.backend, training, self.parallel.workers)
        try:
            search = ArchitectureSearch(
                plan.evolver(module.costs),
                candidates,
                plan.objectives,
                module.costs,
                SearchJournal(path, settings),
                group,
                plan.seed,
                plan.limits,
                pixel_entropy(data.score.images),
                bar,
                cache,
            )
            search.run(plan.generations)
            front = search.front(members.members)
            chosen = choose(front, members.choose, members.choose_loc_max, members.index)
            genomes = [entry.proposal.genome for entry in front]
            values, weights = train_front(search, training, genomes, members, self.parallel, path.parent)
        finally:
            candidates.close()
            bar.close()
        self._hand_over(module, group, search, chosen, genomes, weights)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            found = [member(folder, e, v, weights) for e, v in zip(front, values, strict=True)]
            self.output = SearchOutput(folder, search, found, chosen)
            self.output.write(settings)
            self.output.draw(module.candidate_factory(), data.val, torch.device("cpu"))
        group.close()

    def _hand_over(
        self,
        module: GenomeModel,
        group: SearchGroup,
        search: ArchitectureSearch,
        chosen: int,
        genomes: list[Genome],
        weights: Path,
    ) -> None:
        genome = genomes[chosen]
        # Ranks of other machines may not see the file.
        state = group.from_first(
            lambda: read_candidate(weights, genome) if weights_file(weights, genome).is_file() else None
        )
        module.adopt(genome, state)
        rank_zero_info(
            f"ArchitectureEvolution: {len(search.entries)} candidates, {len(genomes)} in the front, hypervolume "
            f"{search.volumes[-1]:.4f}; member {chosen + 1} is trained on: {genome.key}"
        )
