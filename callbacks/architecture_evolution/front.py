"""Training of a front after the search: missing weights, fine-tuning, scores."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_gvae.callbacks.architecture_evolution.fid import ReconstructionFid
from lightning_gvae.callbacks.architecture_evolution.measures import Measure, Measures, NamedMeasure
from lightning_gvae.callbacks.architecture_evolution.probes import Probes
from lightning_gvae.callbacks.architecture_evolution.settings import FrontSettings, ParallelSettings
from lightning_gvae.callbacks.architecture_evolution.training import CandidateTraining, weights_file
from lightning_gvae.evolution.architecture.candidate_trainers import build_trainer
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.search import ArchitectureSearch
from lightning_gvae.interfaces import offers
from lightning_gvae.rng import stream_key

__all__ = ["FrontTraining", "over_seeds", "train_front"]

REPEATED = ("test_loss", "probe_accuracy", "probe_loss", "mlp_probe_accuracy", "mlp_probe_loss", "test_fid")


class FrontTraining:
    """Trains and scores the members of a front, journalled like the search.

    Args:
        search: The search, finished.
        training: How its candidates were trained; it stored their weights.
        genomes: Members.
        parallel: Processes that train the members.
        folder: For weights; the search's own lie there in ``weights``, or elsewhere if they are shared.
        number: 0 for the search's own members and weights; from 1 on, the same genomes trained anew from further seeds.
    """

    def __init__(
        self,
        search: ArchitectureSearch,
        training: CandidateTraining,
        genomes: Sequence[Genome],
        parallel: ParallelSettings,
        folder: Path,
        number: int = 0,
    ) -> None:
        assert training.save_to is not None
        self.folder = folder / f"seed{number}" if number else folder
        self.search, self.genomes = search, list(genomes)
        self.training = replace(training, save_to=self.folder / "weights", measure=None) if number else training
        self.parallel, self.number = parallel, number
        self.seed = stream_key(search.seed, "front-seed", number) % 2**31 if number else search.seed
        assert self.training.save_to is not None
        self.weights: Path = self.training.save_to  # folder of the latest ones
        self.values: list[dict[str, float]] = [{} for _ in genomes]

    def train(self) -> None:
        """Have weights of all members: those of the search, or of this seed's own training, done like the search's."""
        if not self.number:
            self.restore_weights()
            return
        trainer = build_trainer(self.parallel.backend, self.training, self.parallel.workers)
        phase = self._phase("train")
        try:
            results = self.search.finish(phase, self.genomes, trainer, self.seed)
            done = [g for g, r in zip(self.genomes, results, strict=True) if r.status == "trained"]
            self.search.train(phase, self._without_weights(self.weights, done), trainer, self.seed)
        finally:
            trainer.close()

    def restore_weights(self) -> None:
        """Train members again whose weights are no longer there: the seed gives the same ones."""
        lost = self._without_weights(self.weights, self.genomes)
        if lost:
            rank_zero_info(f"ArchitectureEvolution: {len(lost)} members are trained again, their weights are gone")
            self.search.train("search", lost)

    def finetune(self, epochs: int) -> None:
        """Train all members on for ``epochs`` epochs; ``finetuned_loss``. One that fails keeps its weights."""
        folder = self.folder / f"finetuned{epochs}"
        settings = replace(self.training.settings, epochs=epochs, patience=None)
        work = replace(self.training, settings=settings, start_from=self.weights, save_to=folder, measure=None)
        trainer = build_trainer(self.parallel.backend, work, self.parallel.workers)
        phase = self._phase(f"finetune {epochs}")
        try:
            results = self.search.finish(phase, self.genomes, trainer, self.seed)
            done = [g for g, r in zip(self.genomes, results, strict=True) if r.status == "trained"]
            self.search.train(phase, self._without_weights(folder, done), trainer, self.seed)
            failed = [genome for genome in self.genomes if genome not in done]
            self.search.group.from_first(lambda: self._keep(failed, folder))
        finally:
            trainer.close()
        for own, result in zip(self.values, results, strict=True):
            own["finetuned_loss"] = result.values.get("loss", float("nan"))
        self.weights = folder

    def score(self, probes: bool, further: Sequence[Measure] = ()) -> None:
        """Score members on the test set: ``test_loss``, with ``probes`` classifiers on the codes, and ``further``."""
        labels = self.training.data.train.labels.ndim == 1
        if probes and not labels:
            rank_zero_warn("ArchitectureEvolution: the data set has not one label an image, so the front is not probed")
        probes = probes and labels
        work = replace(
            self.training,
            data=replace(self.training.data, score=self.training.data.test),
            only_score=True,
            start_from=self.weights,
            save_to=None,
            measure=Measures((*([Probes()] if probes else []), *further)),
        )
        trainer = build_trainer(self.parallel.backend, work, self.parallel.workers)
        names = [*(["probes"] if probes else []), *(_name(measure) for measure in further)]
        phase = self._phase(f"test after {self.weights.name}{' with ' if names else ''}{' and '.join(names)}")
        try:
            results = self.search.finish(phase, self.genomes, trainer, self.seed)
        finally:
            trainer.close()
        for own, result in zip(self.values, results, strict=True):
            own["test_loss"] = result.values.get("loss", float("nan"))
            own |= {name: value for name, value in result.values.items() if "probe" in name or name.startswith("test_")}

    def _phase(self, name: str) -> str:
        return f"{name}, seed {self.number}" if self.number else name

    def _keep(self, genomes: Sequence[Genome], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for genome in genomes:
            # A further seed may have failed altogether.
            if self.number and not weights_file(self.weights, genome).is_file():
                continue
            shutil.copyfile(weights_file(self.weights, genome), weights_file(folder, genome))

    def _without_weights(self, folder: Path, genomes: Sequence[Genome]) -> list[Genome]:
        lost: list[Genome] = self.search.group.from_first(
            lambda: [genome for genome in genomes if not weights_file(folder, genome).is_file()]
        )
        return lost


def train_front(
    search: ArchitectureSearch,
    training: CandidateTraining,
    genomes: Sequence[Genome],
    front: FrontSettings,
    parallel: ParallelSettings,
    folder: Path,
) -> tuple[list[dict[str, float]], Path]:
    """Fine-tune and score the members of a front with all seeds.

    Args:
        search: The search, finished.
        training: How its candidates were trained.
        genomes: Members.
        front: How long and from how many seeds they are trained, and whether they are probed.
        parallel: Processes that train them.
        folder: For weights.

    Returns:
        Numbers of every member by name, and the folder of the first seed's weights.
    """
    measure = training.measure
    fids = [p for p in measure.parts if isinstance(p, ReconstructionFid)] if isinstance(measure, Measures) else []
    tests = [replace(part, on="test", name="test_fid") for part in fids]
    seeds = []
    for number in range(front.seeds):
        after = FrontTraining(search, training, genomes, parallel, folder, number)
        after.train()
        if front.finetune_epochs:
            after.finetune(front.finetune_epochs)
        after.score(front.probes, tests)
        seeds.append(after)
    first = seeds[0]
    if len(seeds) == 1:
        return first.values, first.weights
    rows = zip(*(after.values for after in seeds), strict=True)
    return [{**row[0], **over_seeds(row)} for row in rows], first.weights


def _name(measure: Measure) -> str:
    return measure.name if offers(measure, NamedMeasure) else "more"


def over_seeds(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean and standard deviation over the seeds of a member, ``<name>_mean`` and ``<name>_sd``, and ``seeds``, their
    number.

    Args:
        values: Numbers of a member by name, one mapping a seed; a seed that failed has no finite ones and is left out.
    """
    trained = [own for own in values if math.isfinite(own.get("test_loss", math.nan))]
    found: dict[str, float] = {"seeds": float(len(trained))}
    for name in REPEATED:
        numbers = [own[name] for own in trained if name in own]
        if numbers:
            found[f"{name}_mean"] = float(np.mean(numbers))
        if len(numbers) > 1:
            found[f"{name}_sd"] = float(np.std(numbers, ddof=1))
    return found
