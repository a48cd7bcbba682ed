"""Evolves the architecture of a convolutional autoencoder before it is trained."""

import json
import pickle
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_gvae.callbacks.architecture_evolution.data import candidate_data, data_settings
from lightning_gvae.callbacks.architecture_evolution.fid import ReconstructionFid, shared_space
from lightning_gvae.callbacks.architecture_evolution.front import FrontTraining, over_seeds
from lightning_gvae.callbacks.architecture_evolution.output import (
    Member,
    SearchOutput,
    member,
    newest_front,
    read_front,
)
from lightning_gvae.callbacks.architecture_evolution.probes import Measure, Measures, Probes
from lightning_gvae.callbacks.architecture_evolution.progress import SearchBar
from lightning_gvae.callbacks.architecture_evolution.training import (
    CandidateData,
    CandidateTraining,
    read_weights,
    weights_file,
)
from lightning_gvae.errors import CheckpointError, ConfigError, checked_count
from lightning_gvae.evolution.architecture.candidate_trainers import build_evaluator
from lightning_gvae.evolution.architecture.evolvers import Elitism
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.genome_space import GenomeSpace
from lightning_gvae.evolution.architecture.group import SearchGroup
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.architecture.objectives import objectives_by_name
from lightning_gvae.evolution.architecture.pymoo_evolvers import build_evolver
from lightning_gvae.evolution.architecture.result_cache import CandidateStore
from lightning_gvae.evolution.architecture.search import ArchitectureSearch, Choice, Region, choose, pixel_entropy
from lightning_gvae.io.fingerprint import Unidentifiable, fingerprint

__all__ = ["ArchitectureEvolution"]


class ArchitectureEvolution(L.Callback):
    """Before training, evolves genomes over reconstruction loss and compression, and hands one to the module.

    In ``setup``, when the process group is up and nothing is built yet, every candidate is trained by a Trainer of its
    own, on the rank that it falls to or in the processes of the evaluator. The journal remembers each of them: a search
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
        epochs: Of a candidate, at most.
        patience: Epochs without improvement after which a candidate is stopped; None never stops.
        batch_size: Images a step of a candidate.
        train_images: Images that candidates are trained on; None for all.
        score_images: Images that their loss is measured on, at most; None for all.
        score_split: ``val``, or ``test`` as in the paper, which reports what it selects on.
        loc_max: Largest level of compression that is of interest; None for any.
        max_macs: Most MACs of one image forward; None for any.
        evaluator: ``local``, ``pool`` (processes) or ``ray``.
        workers: Processes or tasks of ``pool`` and ``ray``.
        threads: Of torch in each candidate's training on the CPU.
        members: ``archive`` of everything trained, or the last ``population`` as in the paper: where the front is from.
        choose: ``knee``, ``min_loss_under_loc`` or ``index``.
        choose_loc_max: For ``min_loss_under_loc``.
        index: For ``index``, counted from 1 from the strongest compression on.
        finetune_epochs: Further epochs for every member of the front; 0 for none.
        front_seeds: Seeds that every member of the front is trained and scored with, at least 1. The first is the
            search's; from each further one members are trained anew, as in the search, and fine-tuned.
        probes: Whether to probe every member with a linear classifier and a small network.
        journal: Its path; None for ``search/journal.jsonl`` in the run folder.
        pick: Train on this member of a saved front, counted from 1, and do not search; None searches.
        front: ``front.json`` for ``pick``; None takes the newest below ``front_dir``.
        front_dir: Where fronts are looked for; None for the folder above the run folder.
        shared_journal: Folder of candidates that searches with the same data, settings of training and seed share,
            whatever they propose; None shares nothing. Results are the same either way, to the last bit on one machine.
        cache_dir: Folder of the caches, for the classifier of ``fid``; None keeps nothing.
        seed: Of everything here.
        timeout_hours: How long ranks wait for each other.

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
        epochs: int = 5,
        patience: int | None = 1,
        batch_size: int = 256,
        train_images: int | None = None,
        score_images: int | None = None,
        score_split: Literal["val", "test"] = "val",
        loc_max: float | None = None,
        max_macs: float | None = None,
        evaluator: str = "local",
        workers: int = 2,
        threads: int = 1,
        members: Literal["archive", "population"] = "archive",
        choose: Choice = "knee",
        choose_loc_max: float | None = None,
        index: int = 1,
        finetune_epochs: int = 20,
        front_seeds: int = 1,
        probes: bool = True,
        journal: str | Path | None = None,
        pick: int | None = None,
        front: str | Path | None = None,
        front_dir: str | Path | None = None,
        shared_journal: str | Path | None = None,
        cache_dir: str | Path | None = None,
        seed: int = 0,
        timeout_hours: float = 24.0,
    ) -> None:
        counts = {"generations": generations, "epochs": epochs, "batch_size": batch_size, "threads": threads}
        optional = {"patience": patience, "train_images": train_images, "score_images": score_images, "pick": pick}
        for name, count in (counts | {k: v for k, v in optional.items() if v is not None}).items():
            checked_count(name, count)
        checked_count("finetune_epochs", finetune_epochs, least=0)
        checked_count("front_seeds", front_seeds, unit="seeds")
        for name, value, choices in (
            ("score_split", score_split, ("val", "test")),
            ("members", members, ("archive", "population")),
        ):
            if value not in choices:
                raise ConfigError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}")
        self.space, self.algorithm, self.population, self.generations = space, algorithm, population, generations
        self.objectives = objectives_by_name(list(objectives))
        self.reference = [o.reference for o in self.objectives] if reference is None else list(reference)
        if len(self.reference) != len(self.objectives):
            raise ConfigError(f"`reference` must have one value an objective, got {self.reference} for {objectives}")
        self.elitism, self.epochs, self.patience, self.batch_size = elitism, epochs, patience, batch_size
        self.train_images, self.score_images, self.score_split = train_images, score_images, score_split
        self.region = Region(loc_max, max_macs)
        self.evaluator, self.workers, self.threads = evaluator, workers, threads
        self.members, self.choose, self.choose_loc_max, self.index = members, choose, choose_loc_max, index
        self.finetune_epochs, self.front_seeds, self.probes = finetune_epochs, front_seeds, probes
        self.journal, self.pick, self.front = journal, pick, front
        self.front_dir, self.seed, self.timeout_hours = front_dir, seed, timeout_hours
        self.shared_journal, self.cache_dir = shared_journal, cache_dir
        self.output: SearchOutput | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the genome: in the module, in the checkpoint, in a saved front, or by searching."""
        if stage != "fit":
            return
        if not callable(getattr(pl_module, "adopt", None)):
            raise ConfigError(
                f"ArchitectureEvolution needs a model that is built from a genome, {type(pl_module).__name__} is not; "
                "choose model=conv_autoencoder or remove the callback"
            )
        module: Any = pl_module
        if module.genome is not None:
            rank_zero_info(f"ArchitectureEvolution: the model has a genome, nothing is searched ({module.genome.key})")
        elif trainer.ckpt_path:
            module.adopt(_checkpoint_genome(str(trainer.ckpt_path)))
            rank_zero_info("ArchitectureEvolution: the genome is the checkpoint's, nothing is searched")
        elif self.pick is not None:
            self._pick(trainer, module, self.pick)
        else:
            self._search(trainer, module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hand pictures and table to report and loggers."""
        if self.output is not None and trainer.is_global_zero:
            self.output.publish(trainer, pl_module)

    def _pick(self, trainer: L.Trainer, module: Any, place: int) -> None:
        above = Path(self.front_dir) if self.front_dir is not None else Path(trainer.default_root_dir).parent
        path = newest_front(above) if self.front is None else Path(self.front)
        path = trainer.strategy.broadcast(path)
        found = read_front(path)
        if not 1 <= place <= len(found):
            raise ConfigError(f"`pick` must be 1 to {len(found)}, the size of the front {path}, got {place}")
        genome, weights = found[place - 1]
        state = None if weights is None else read_weights(weights.parent, genome)
        module.adopt(genome, state)
        rank_zero_info(
            f"ArchitectureEvolution: member {place} of {path}, {genome.key}, "
            + ("with its weights" if state else "from new weights, since none are stored")
        )

    def _search(self, trainer: L.Trainer, module: Any) -> None:
        least = module.costs(self.space.smallest())["loc"]
        if self.region.loc_max is not None and least > self.region.loc_max:
            raise ConfigError(
                f"`loc_max` {self.region.loc_max} cannot be met: the strongest compression in this space is "
                f"{least:.3f} "
                "for these images; raise it, or allow more blocks or fewer filters"
            )
        folder = Path(trainer.strategy.broadcast(trainer.default_root_dir))
        path = Path(self.journal) if self.journal is not None else folder / "search" / "journal.jsonl"
        data = candidate_data(trainer, self.train_images, self.score_images, self.score_split)
        group = SearchGroup(self.timeout_hours)
        measures, measured = self._measures(trainer, group, data)
        settings = self.settings(trainer, module, data, measured)
        store = None if self.shared_journal is None else self._store(trainer, settings)
        bar = SearchBar(self.generations * self.population, self.generations, trainer.is_global_zero)
        training = CandidateTraining(
            module.candidate_factory(),
            data,
            module.cost_function(),
            epochs=self.epochs,
            patience=self.patience,
            batch_size=self.batch_size,
            device=str(trainer.strategy.root_device),
            threads=self.threads,
            save_to=path.parent / "weights" if store is None else store.weights,
            measure=Measures(measures) if measures else None,
        )
        evaluator = build_evaluator(self.evaluator, training, self.workers)
        try:
            search = ArchitectureSearch(
                build_evolver(
                    self.algorithm,
                    self.space,
                    population=self.population,
                    reference=self.reference,
                    seed=self.seed,
                    feasible=lambda genome: self.region.holds(module.costs(genome)),
                    elitism=self.elitism,
                ),
                evaluator,
                self.objectives,
                module.costs,
                SearchJournal(path, settings),
                group,
                self.seed,
                self.region,
                pixel_entropy(data.score.images),
                bar,
                store,
            )
            search.run(self.generations)
            front = search.front(self.members)
            chosen = choose(front, self.choose, self.choose_loc_max, self.index)
            genomes = [entry.proposal.genome for entry in front]
            values, weights = self._train_on(search, training, genomes, path.parent)
        finally:
            evaluator.close()
            bar.close()
        self._hand_over(module, group, search, chosen, genomes, weights)
        if trainer.is_global_zero:
            found = [member(folder, e, v, weights) for e, v in zip(front, values, strict=True)]
            self._write(folder, search, found, chosen, settings, module, data, trainer)
        group.close()

    def _train_on(
        self, search: ArchitectureSearch, training: CandidateTraining, genomes: list[Genome], folder: Path
    ) -> tuple[list[dict[str, float]], Path]:
        """Fine-tune and score the front with all seeds: members' numbers, and the folder of the first weights."""
        tests = [replace(part, on="test", name="test_fid") for part in _fids(training)]
        seeds = []
        for number in range(self.front_seeds):
            after = FrontTraining(search, training, genomes, self.evaluator, self.workers, folder, number)
            after.train()
            if self.finetune_epochs:
                after.finetune(self.finetune_epochs)
            after.score(self.probes, tests)
            seeds.append(after)
        first = seeds[0]
        if len(seeds) == 1:
            return first.values, first.weights
        rows = zip(*(after.values for after in seeds), strict=True)
        return [{**row[0], **over_seeds(row)} for row in rows], first.weights

    def _hand_over(
        self,
        module: Any,
        group: SearchGroup,
        search: ArchitectureSearch,
        chosen: int,
        genomes: list[Genome],
        weights: Path,
    ) -> None:
        genome = genomes[chosen]
        # Ranks of other machines may not see the file.
        state = group.from_first(
            lambda: read_weights(weights, genome) if weights_file(weights, genome).is_file() else None
        )
        module.adopt(genome, state)
        rank_zero_info(
            f"ArchitectureEvolution: {len(search.entries)} candidates, {len(genomes)} in the front, hypervolume "
            f"{search.volumes[-1]:.4f}; member {chosen + 1} is trained on: {genome.key}"
        )

    def _write(
        self,
        folder: Path,
        search: ArchitectureSearch,
        found: list[Member],
        chosen: int,
        settings: dict[str, Any],
        module: Any,
        data: CandidateData,
        trainer: L.Trainer,
    ) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self.output = SearchOutput(folder, search, found, chosen)
        self.output.write(settings)
        self.output.draw(module.candidate_factory(), data.val, torch.device("cpu"))

    def _measures(
        self, trainer: L.Trainer, group: SearchGroup, data: CandidateData
    ) -> tuple[tuple[Measure, ...], dict[str, Any]]:
        """Measures of a trained candidate that the objectives need, and the settings that their numbers depend on."""
        needs = {name for objective in self.objectives for name in objective.needs}
        measures: list[Measure] = [Probes(mlp=False, on="score")] if "probe_accuracy" in needs else []
        settings: dict[str, Any] = {}
        if "fid" in needs:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            space = shared_space(group, datamodule, self.cache_dir, trainer.strategy.root_device, self.threads)
            own = ReconstructionFid(space)
            for measure in (own, replace(own, on="test")):
                measure.check(data)
            measures.append(own)
            settings["feature_space"] = str(space.space)
        return tuple(measures), settings

    def _store(self, trainer: L.Trainer, settings: dict[str, Any]) -> CandidateStore:
        """Cache of results, shared by all searches whose candidates are trained alike, whatever they propose."""
        assert self.shared_journal is not None
        own = ("epochs", "patience", "batch_size", "threads", "score_split", "seed", "model", "data", "feature_space")
        shared = {name: settings[name] for name in own if name in settings}
        needs = sorted({name for objective in self.objectives for name in objective.needs} - {"loss"})
        shared |= {"measured": needs, "device": trainer.strategy.root_device.type}
        store = CandidateStore(Path(self.shared_journal), shared)
        data = {name: value for name, value in shared["data"].items() if name not in ("content", "split_seed")}
        earlier = CandidateStore(Path(self.shared_journal), shared | {"data": data})
        if earlier.folder.is_dir() and not store.folder.is_dir():
            rank_zero_info(
                f"{earlier.folder} was written by an earlier version, which did not record which images its candidates "
                "were trained on; they are trained anew."
            )
        return store

    def settings(
        self, trainer: L.Trainer, module: Any, data: CandidateData, measured: dict[str, Any]
    ) -> dict[str, Any]:
        """Settings that the results of a search depend on, as plain containers; not its length, nor who trains."""
        model = {name: value for name, value in module.hparams.items() if name not in ("genome", "seed")}
        return json.loads(
            json.dumps(
                {
                    "space": self.space.settings(),
                    "algorithm": self.algorithm,
                    "elitism": self.elitism if self.algorithm == "chv_roulette" else None,
                    "population": self.population,
                    "objectives": [objective.name for objective in self.objectives],
                    "reference": self.reference,
                    "epochs": self.epochs,
                    "patience": self.patience,
                    "batch_size": self.batch_size,
                    "threads": self.threads,
                    "score_split": self.score_split,
                    "loc_max": self.region.loc_max,
                    "max_macs": self.region.max_macs,
                    "seed": self.seed,
                    "model": {"class": type(module).__name__, **model},
                    "data": data_settings(trainer, data),
                    **measured,
                },
                default=_plain,
            )
        )


def _plain(value: Any) -> str:
    """A setting that JSON cannot express, as text: its own where that says all, else a fingerprint."""
    if isinstance(value, PurePath | torch.dtype | torch.device):
        return str(value)
    try:
        return f"{type(value).__qualname__} {fingerprint(value, 'model')}"
    except Unidentifiable as reason:
        rank_zero_info(f"The architecture search cannot be gone on with after a stop: {reason}.")
        return f"unidentifiable:{uuid.uuid4().hex}"


def _fids(training: CandidateTraining) -> list[ReconstructionFid]:
    measure = training.measure
    return [p for p in measure.parts if isinstance(p, ReconstructionFid)] if isinstance(measure, Measures) else []


def _checkpoint_genome(path: str) -> Genome:
    """The genome in a checkpoint's hyper-parameters; nothing is executed.

    Raises:
        CheckpointError: The file cannot be read, or holds no genome.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)["hyper_parameters"]["genome"]
    except (OSError, RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} holds no genome to go on with ({type(error).__name__}); give the checkpoint of an evolved model"
        ) from error
    return Genome.from_dict(stored)
