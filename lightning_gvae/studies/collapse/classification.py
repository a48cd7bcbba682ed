"""Classifiers across real and generated images: trained on the one, tested on the other.

Unconditional models draw images without classes; theirs are those that the frozen classifier of the study sees
(``labels`` in ``samples.npz``). The classifiers here have other first weights, so that none is tested on its own words.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lightning_gvae.evaluation.real_data import RealData
from lightning_gvae.interfaces import DataModule
from lightning_gvae.io.files import write_json
from lightning_gvae.metrics.classification import classification_scores
from lightning_gvae.metrics.fidelity.domain import Classifier, DomainSettings, LabelledImages, train_classifier
from lightning_gvae.studies.collapse.chain import generation_folder

__all__ = ["SCORES", "CrossClassifiers"]

FILE = "classification.json"
SEED = 1  # the frozen classifier has 0
BATCH = 1000
SCORES = tuple(
    f"{way}_{name}"
    for way in ("real_to_generated", "generated_to_real")
    for name in ("accuracy", "precision", "recall", "f1")
)


class CrossClassifiers:
    """Scores generations of samples by classifiers trained on real and on generated images.

    Args:
        datamodule: Labelled images, set up.
        training: Real training images at most; as many as are generated make both ways alike.
        testing: Real test images at most. Both are always the same ones.
    """

    def __init__(self, datamodule: DataModule, training: int, testing: int) -> None:
        real = RealData(datamodule, seed=0)
        classes = datamodule.spec.num_classes
        assert classes is not None  # the frozen classifier has been trained
        self.classes = classes
        self._train = LabelledImages(*real.images(datamodule.train_set, training, "classification"))
        self._test = LabelledImages(*real.images(datamodule.test_set, testing, "real"))
        self._of_real: Classifier | None = None

    def scores(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> dict[str, float]:
        """Scores both ways by name, :data:`SCORES`, of samples uint8 ``(M, C, H, W)`` and their classes ``(M,)``."""
        settings = DomainSettings(seed=SEED)
        if self._of_real is None:
            self._of_real = train_classifier(self._train, settings, self.classes)
        generated = LabelledImages(images, labels)
        of_generated = train_classifier(generated, settings, self.classes)
        found: dict[str, float] = {}
        for way, net, tested in (
            ("real_to_generated", self._of_real, generated),
            ("generated_to_real", of_generated, self._test),
        ):
            scores = classification_scores(tested.labels, _predicted(net, tested.images), self.classes)
            found |= {f"{way}_{name}": value for name, value in scores.items()}
        return found

    def of_chain(self, place: Path, generations: int) -> list[dict[str, float]]:
        """Scores of every generation of a chain, computed once each and kept beside its samples."""
        found = []
        for generation in range(generations):
            folder = generation_folder(place, generation)
            if not (folder / FILE).is_file():
                with np.load(folder / "samples.npz", allow_pickle=False) as stored:
                    images, labels = stored["images"], stored["labels"]
                write_json(folder / FILE, self.scores(images, labels.astype(np.int64)), indent=1)
            found.append(json.loads((folder / FILE).read_text(encoding="utf-8")))
        return found


@torch.no_grad()
def _predicted(net: Classifier, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    parts = [net(torch.from_numpy(images[start : start + BATCH]))[1] for start in range(0, len(images), BATCH)]
    return torch.cat(parts).argmax(1).numpy()
