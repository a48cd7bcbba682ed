"""What happens to the members of a front after the search: weights that are missing, fine-tuning, scores."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_gvae.callbacks.candidate_probes import Probes
from lightning_gvae.callbacks.candidate_training import CandidateTraining, weights_file
from lightning_gvae.evolution.architecture_search import ArchitectureSearch
from lightning_gvae.evolution.candidates import build_evaluator
from lightning_gvae.evolution.genome import Genome

__all__ = ["FrontTraining"]


class FrontTraining:
    """Trains and scores the members of a front, journalled like the search.

    Args:
        search: The search, finished.
        training: How its candidates were trained; it stored their weights.
        genomes: Members.
        evaluator: Name of the evaluator.
        workers: Its workers.
    """

    def __init__(
        self,
        search: ArchitectureSearch,
        training: CandidateTraining,
        genomes: Sequence[Genome],
        evaluator: str,
        workers: int,
    ) -> None:
        assert training.save_to is not None
        self.search, self.training, self.genomes = search, training, list(genomes)
        self.evaluator, self.workers = evaluator, workers
        self.weights: Path = training.save_to  # folder of the latest ones
        self.values: list[dict[str, float]] = [{} for _ in genomes]

    def restore_weights(self) -> None:
        """Train members again whose weights are no longer there: the seed gives the same ones."""
        lost = self._without_weights(self.weights, self.genomes)
        if lost:
            rank_zero_info(f"ArchitectureEvolution: {len(lost)} members are trained again, their weights are gone")
            self.search.train("search", lost)

    def finetune(self, epochs: int) -> None:
        """Train all members on for ``epochs`` epochs; ``finetuned_loss``. One that fails keeps its weights."""
        folder = self.weights.parent / f"finetuned{epochs}"
        work = replace(
            self.training, epochs=epochs, patience=None, start_from=self.weights, save_to=folder, measure=None
        )
        evaluator = build_evaluator(self.evaluator, work, self.workers)
        try:
            results = self.search.finish(f"finetune {epochs}", self.genomes, evaluator)
            done = [g for g, r in zip(self.genomes, results, strict=True) if r.status == "trained"]
            self.search.train(f"finetune {epochs}", self._without_weights(folder, done), evaluator)
            failed = [genome for genome in self.genomes if genome not in done]
            self.search.group.from_first(lambda: self._keep(failed, folder))
        finally:
            evaluator.close()
        for own, result in zip(self.values, results, strict=True):
            own["finetuned_loss"] = result.values.get("loss", float("nan"))
        self.weights = folder

    def score(self, probes: bool) -> None:
        """``test_loss``, and with ``probes`` what the codes are worth to a classifier, on the test set."""
        labels = self.training.data.train.labels.ndim == 1
        if probes and not labels:
            rank_zero_warn("ArchitectureEvolution: the data set has not one label an image, so the front is not probed")
        probes = probes and labels
        work = replace(
            self.training,
            data=replace(self.training.data, score=self.training.data.test),
            epochs=0,
            start_from=self.weights,
            save_to=None,
            measure=Probes() if probes else None,
        )
        evaluator = build_evaluator(self.evaluator, work, self.workers)
        phase = f"test after {self.weights.name}{' with probes' if probes else ''}"
        try:
            results = self.search.finish(phase, self.genomes, evaluator)
        finally:
            evaluator.close()
        for own, result in zip(self.values, results, strict=True):
            own["test_loss"] = result.values.get("loss", float("nan"))
            own |= {name: value for name, value in result.values.items() if "probe" in name}

    def _keep(self, genomes: Sequence[Genome], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for genome in genomes:
            shutil.copyfile(weights_file(self.weights, genome), weights_file(folder, genome))

    def _without_weights(self, folder: Path, genomes: Sequence[Genome]) -> list[Genome]:
        lost: list[Genome] = self.search.group.from_first(
            lambda: [genome for genome in genomes if not weights_file(folder, genome).is_file()]
        )
        return lost
